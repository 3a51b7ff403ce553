"""The automatic choice: methods from cheap to dear within the time there is, and the tightest of what they prove."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch

from netgain.core.errors import NoSoundRuleError, RefusedCertificateError
from netgain.core.norms import Norm
from netgain.core.progress import Progress, silent
from netgain.core.results import Bound, Side
from netgain.gain.layers import LayerGain
from netgain.gain.methods import Entry, applicable
from netgain.gain.result import GainBound, InterruptedSearchError, Run
from netgain.network.graph import Network

_WORK = 5e11  # multiplications that one method may take where no time is given
_SPEED = 1e10  # multiplications a second, for the guess whether a method can do something useful in the time left
_CLOSED = 1.0 + 1e-9  # upper over lower bound from which there is nothing left to gain
_REACHED = 1e-5  # relative gap at which the least bound of a kind counts as reached


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """What a search for upper bounds found.

    Attributes:
        bounds: what was proved, tightest first.
        runs: what each method did, in order.
        interrupted: whether Ctrl-C ended it.
    """

    bounds: tuple[GainBound, ...]
    runs: tuple[Run, ...]
    interrupted: bool = False


class Automatic:
    """Methods from cheap to dear on one network; keeps everything that was proved, whatever ends the search."""

    def __init__(self, network: Network, norm: Norm, layers: Mapping[str, LayerGain], progress: Progress = silent):
        self._about = (network, norm, layers)
        self._progress = progress
        self._bounds: list[GainBound] = []
        self._runs: list[Run] = []
        self._reached = ""
        self.interrupted = False

    def found(self) -> Search:
        """What there is so far."""
        bounds = sorted(self._bounds, key=lambda found: found.bound.value)
        return Search(bounds=tuple(bounds), runs=tuple(self._runs), interrupted=self.interrupted)

    def run(self, name: str, entry: Entry, seconds: float | None = None, part: float = 1.0) -> None:
        """Try one method; a KeyboardInterrupt ends it and is kept in `interrupted`.

        Args:
            name: its name.
            entry: its line of the registry.
            seconds: its time; None for a fixed amount of work.
            part: of its usual effort.

        Raises:
            NoSoundRuleError: if it does not apply, or its search leaves the range of float64.
        """
        began = time.monotonic()
        found: GainBound | None = None
        note = ""
        try:
            found = entry.make(part)(*self._about, seconds=seconds, progress=self._progress)
        except InterruptedSearchError as stop:
            self.interrupted, found, note = True, stop.found, "interrupted"
        except KeyboardInterrupt:
            self.interrupted, note = True, "interrupted"
        except (ArithmeticError, torch.linalg.LinAlgError) as error:  # pyright: ignore[reportPrivateImportUsage]
            raise NoSoundRuleError(f"{name}: the search broke down in float64 ({error})") from error
        self._note(name, found, time.monotonic() - began, note)
        if found is not None and found.gap is not None and found.gap.value <= _REACHED and entry.rank == 2:
            self._reached = name

    def all(self, seconds: float | None, lower: Bound | None) -> None:
        """Every method that applies and is worth its time.

        Args:
            seconds: for all of them; None for a fixed amount of work.
            lower: a proved lower bound; methods end where it is met.
        """
        began = time.monotonic()
        waiting = [pair for pair in applicable(*self._about[:2]) if pair[0] not in {run.name for run in self._runs}]
        total = len(waiting)
        while waiting and not self.interrupted:
            name, entry = waiting.pop(0)
            self._tell(total - len(waiting) - 1, total)
            left = None if seconds is None else seconds - (time.monotonic() - began)
            work = max(1.0, float(entry.work(self._about[0])))
            if reason := self._spared(entry, work, left, lower):
                self._runs.append(Run(name=name, note=reason))
                continue
            try:
                if left is None:
                    self.run(name, entry, part=min(1.0, _WORK / work))
                else:
                    self.run(name, entry, self._share(left, waiting))
            except (NoSoundRuleError, RefusedCertificateError) as error:
                self._runs.append(Run(name=name, note=error.detail))
        self._tell(total, total)

    def _note(self, name: str, found: GainBound | None, seconds: float, note: str) -> None:
        """Keep what a method did."""
        if found is None:
            self._runs.append(Run(name=name, seconds=seconds, note=note))
            return
        self._bounds.append(found)
        self._runs.append(
            Run(name=name, bound=found.bound, seconds=seconds, steps=found.steps, gap=found.gap, note=note)
        )

    def _tell(self, done: int, total: int) -> None:
        """Progress with the least bound so far."""
        best = min((found.bound.value for found in self._bounds), default=None)
        self._progress("upper bounds" if best is None else f"upper bounds: {Side.UPPER.shown(best)}", done, total)

    def _spared(self, entry: Entry, work: float, left: float | None, lower: Bound | None) -> str:
        """Why a method is left out; "" if it is not."""
        # Methods with multipliers go on until a bound that has some meets the lower one: a certificate needs them.
        ends = [found for found in self._bounds if found.claim is not None or not entry.rank]
        best = min((found.bound.value for found in ends), default=float("inf"))
        if lower is not None and lower.value > 0 and best <= lower.value * _CLOSED:
            return "not needed: the upper bound meets the lower bound"
        if self._reached and entry.rank:
            return f"not needed: {self._reached} has reached the least bound of this kind"
        if entry.fallback and any(found.claim is not None for found in self._improved()):
            return "not needed: a method with a certificate is tighter as a rule"
        needed = entry.least * work / _SPEED
        if left is None and entry.least * work > _WORK:
            return f"left out: needs about {_figure(needed)} s; give a time (seconds) to try it"
        if left is not None and (left <= 0 or needed > left):
            return f"left out: needs about {_figure(needed)} s, {_figure(max(left, 0.0))} s were left"
        return ""

    def _improved(self) -> Sequence[GainBound]:
        """Bounds below that of the product."""
        product = next((found.bound.value for found in self._bounds if found.bound.method == "product"), float("inf"))
        return [found for found in self._bounds if found.bound.value < product]

    def _share(self, left: float, waiting: Sequence[tuple[str, Entry]]) -> float:
        """The part of the time left that a method may take: all of it if only fallbacks wait, else half."""
        return left if all(entry.fallback for _, entry in waiting) else left / 2


def _figure(seconds: float) -> str:
    """A time with one digit that matters."""
    return f"{float(f'{seconds:.1g}'):g}"
