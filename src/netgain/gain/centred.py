"""The centred absolute product: a centre and a radius for each entry of the Jacobian, where signs still cancel."""

import dataclasses
import math
from collections.abc import Mapping

from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.gain.claims import claim
from netgain.gain.layers import LayerGain
from netgain.gain.product import upper
from netgain.gain.recursion import ancestors
from netgain.gain.result import GainBound
from netgain.network.graph import Bilinear, Network, Opaque, Vector
from netgain.vectors.pool import AdaptiveMaxPool, MaxPool
from netgain.witness.certificate import Piece, Proof

_ENTRIES = 25_000_000  # of the largest Jacobian; as much again for the radii


@dataclasses.dataclass(frozen=True)
class Centred:
    """A centre and a radius for each entry of the Jacobian, and the greatest norm that they allow.

    A unit with slopes in c +- r is D y = c D z + w with a deviation |w| <= r |D z|. Every value is then linear in the
    input's difference and in the deviations of the units before it,

        D v = C D x + sum over k of G_k w_k,    w_k = M_k D x,    |M_k| <= r_k (|C_k| + sum over j < k of |G_kj| |M_j|)

    with C_k, G_kj those of what unit k reads. Affine maps, sums and concatenations act on C and all G_k with the signs
    of their weights; only deviations add up in magnitude: R = sum |G_k| |M_k|. Then ||J||_p <= || |C| + R ||_p in l1
    and linf, and ||J||_2 <= ||C||_2 + ||R||_2.

    Without pooling the bound in l1 and linf is never above the absolute product P (greatest slopes, weights in
    magnitude): claim |C| + sum |G_k| |M_k| <= P for every value. Affine maps: |A C| + sum |A G_k| |M_k| <= |A| P.
    Activations: |c| (|C| + sum |G_k| |M_k|) + r (|C| + sum |G_k| |M_k|) = (|c| + r) (...), and |c| + r is the greatest
    |slope|. Equality needs that nothing cancels. (A sum that reads one value twice with opposite scales is the
    exception: the absolute product adds the scales first.)

    Guarantee:
        Upper bound of the global Lipschitz constant in l1, l2 or linf, proved by `witness.prove`, rounded up.

    Cost:
        About four evaluations of the network for each input and, in networks where that fits, for each unit; memory for
        a few Jacobians of the widest node.

    Source:
        Affine arithmetic (de Figueiredo and Stolfi 2004, Affine arithmetic: concepts and applications) on the entries
        of the Jacobian.
    """

    @property
    def name(self) -> str:
        """As the registry of methods has it."""
        return "centred product"

    def __call__(
        self,
        network: Network,
        norm: Norm,
        layers: Mapping[str, LayerGain],
        *,
        seconds: float | None = None,
        progress: Progress = silent,
    ) -> GainBound:
        """The bound of a network.

        Args:
            network: the folded network.
            norm: the norm of inputs and outputs.
            layers: not needed.
            seconds: not needed; the work is fixed.
            progress: told at the start and at the end.

        Raises:
            NoSoundRuleError: for an operation without a rule for entries of its Jacobian, where numbers overflow, or if
                a Jacobian of the network is too large to be kept.
        """
        self._check(network)
        progress(self.name, 0, 1)
        pieces = (Piece(start=network.input, stop=network.output, proof=Proof.ENTRYWISE),)
        try:
            found = claim(network, norm, pieces, self.name)
        except RefusedCertificateError as error:
            raise NoSoundRuleError(f"{self.name}: {error}") from error
        progress(self.name, 1, 1)
        return GainBound(upper(found.bound, norm, self.name), claim=found)

    def _check(self, network: Network) -> None:
        """Refuse before anything is computed what the proof has no rule or no room for."""
        inputs = math.prod(network.input_shape)
        for node in ancestors(network):
            pooling = isinstance(node.kind, Vector) and isinstance(node.kind.function, MaxPool | AdaptiveMaxPool)
            if isinstance(node.kind, Vector | Bilinear | Opaque) and not pooling:
                raise NoSoundRuleError(f"{node.source} has no rule for the entries of its Jacobian")
            if inputs * math.prod(node.shape) > _ENTRIES:
                raise NoSoundRuleError(
                    f"{self.name}: the Jacobian of {node.source} has {inputs} x {math.prod(node.shape)} entries, "
                    f"more than {_ENTRIES:,}; the absolute product needs none of them"
                )
