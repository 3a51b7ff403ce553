"""The stable codes of errors (NG0xx) and findings (NG1xx), as `netgain explain` prints them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Code:
    """One error or finding: its code, a short title, what it means and what to do about it."""

    code: str
    title: str
    meaning: str
    action: str


CODES: dict[str, Code] = {
    entry.code: entry
    for entry in (
        # Reading a model
        Code(
            "NG001",
            "the model cannot be read",
            "The file or module could not be turned into a graph: it is truncated, is not what its name says, or uses "
            "a format that netgain does not open.",
            "A model is F.onnx, F.pt2, package.module:factory or path/to/file.py:factory.",
        ),
        Code(
            "NG002",
            "the file is unsafe to open",
            "The file is a pickle, or its header claims sizes or paths that do not match what is there. Opening it "
            "could run code, read other files or exhaust memory.",
            "Get the file again, or save the weights as safetensors. A pickle whose origin you trust opens with "
            "--allow-pickle.",
        ),
        Code(
            "NG003",
            "the model branches on its data",
            "Python control flow depends on values of the input, so no single graph describes the model. A graph of "
            "one branch would give numbers that are false for the other.",
            "Replace the branch by torch.where or torch.cond, or audit each branch as a model of its own.",
        ),
        Code(
            "NG004",
            "the graph and the model disagree",
            "The graph that netgain read does not reproduce the model on random inputs, so nothing proved about it "
            "would hold for the model.",
            "This is a defect of netgain or of the file; please report it with the model.",
        ),
        Code(
            "NG005",
            "rows of a batch influence each other",
            "The output for one input changes with the other inputs in its batch (batch statistics, a sum over the "
            "batch, state kept between calls), so a gain per input does not exist.",
            "Put the model in eval mode, or remove the operation that mixes the batch.",
        ),
        Code(
            "NG006",
            "the model is stateful or random",
            "Two calls with the same input give different outputs.",
            "Remove the randomness or the state; dropout must be in eval mode.",
        ),
        Code(
            "NG007",
            "weights are not finite",
            "A weight, bias or statistic is NaN or infinite, so the network has no gain.",
            "Retrain or restore the checkpoint.",
        ),
        Code(
            "NG008",
            "weights do not fit the model",
            "The checkpoint's names or shapes differ from the model's.",
            "Check that the factory builds the architecture the checkpoint was trained with.",
        ),
        Code(
            "NG009",
            "too large to unfold",
            "Shapes in the file ask for more memory than the limit, before anything was allocated.",
            "Check the file. Models that are meant to be this large are beyond this version.",
        ),
        # No sound rule
        Code(
            "NG010",
            "an operation has no sound rule",
            "netgain can read and show the operation but knows no proof for it, so no bound of the whole network "
            "exists here.",
            "`netgain show` lists the operations. Bound the part before or after it, or ask for a rule.",
        ),
        Code(
            "NG011",
            "the function is not continuous",
            "A step (sign, hard threshold, rounding, integer cast) jumps, so its Lipschitz constant is infinite.",
            "Bound the network up to the step, or replace it by a continuous function.",
        ),
        Code(
            "NG012",
            "no global bound exists for this operation",
            "Over the whole input space the operation's slope is unbounded (dot-product attention, a product of two "
            "computed tensors, x*x, exp). This is a property of the function, not a limit of the tool.",
            "A bound needs a region. Local bounds over a ball or box are the way; they are not in this version.",
        ),
        Code(
            "NG013",
            "the input is discrete",
            "The model takes integers (token or class numbers). Between integers there is nothing, so a gain in the "
            "input is not defined.",
            "Audit the part behind the embedding, which takes real vectors.",
        ),
        Code(
            "NG014",
            "the arithmetic is not covered by the proofs",
            "Rounding is not to nearest or subnormal numbers are flushed to zero; the error bounds assume neither.",
            "Call torch.set_flush_denormal(False) and leave the rounding mode alone.",
        ),
        # Code of the user
        Code(
            "NG015",
            "the factory gives no model",
            "package.module:factory or path/to/file.py:factory could not be imported, failed when called without "
            "arguments, or returned something that is not a torch.nn.Module.",
            "A factory is a function without arguments that returns a torch.nn.Module; modules are looked for from the "
            "working directory.",
        ),
        Code(
            "NG016",
            "the model does not take this input",
            "The example input that netgain reads the model with has a shape other than the file declares, or the "
            "model's own code failed on it, most often because the shape is not the one that it was made for.",
            "Give the shape of one sample, without the batch axis: --input-shape 1,28,28; in Python an example batch.",
        ),
        # Data and use
        Code(
            "NG020",
            "the data cannot be read",
            "The data file is missing, truncated, pickled or of an unknown format.",
            "Data are an .npz with arrays x and y (no pickle), a CSV with a label column, or package.module:dataset; "
            "`compare` also takes what `netgain audit --json F.json` wrote.",
        ),
        Code(
            "NG021",
            "the data do not fit the model",
            "Shape, layout, dtype or number of classes differ from what the model takes.",
            "Transpose or reshape the data. Images are (samples, channels, height, width).",
        ),
        Code(
            "NG022",
            "nothing to check",
            "The data set is empty, so every statement about it would be vacuous.",
            "Pass data with at least one sample.",
        ),
        Code(
            "NG023",
            "labels are not valid",
            "Labels must be integers from 0 to the number of classes minus one.",
            "Store one whole number a sample, from 0 to the number of classes minus one.",
        ),
        Code(
            "NG024",
            "an argument is not usable",
            "An argument is outside its range or two arguments contradict each other.",
            "See `netgain COMMAND --help`, or help() of the Python function.",
        ),
        Code(
            "NG030",
            "an attack beat a certificate",
            "An input inside a certified radius changes the decision. This must never happen.",
            "Please report it with the model and the data: it is a defect of netgain.",
        ),
        Code(
            "NG031",
            "the certificate is refused",
            "The certificate does not prove its claim for this network: it belongs to another one, a condition fails, "
            "or the claimed number is below what is proved.",
            "Write a new certificate with `netgain bound --certificate`, and verify it with the model it was made for.",
        ),
        Code(
            "NG032",
            "the file is not a readable certificate",
            "The file is not strict JSON in the format of a certificate of this version.",
            "Get the file again, or write a new one with `netgain bound --certificate`.",
        ),
        # Findings
        Code(
            "NG101",
            "one layer dominates the gain",
            "One layer contributes far more to the product bound than the others.",
            "Regularize that layer first: a spectral penalty or a larger weight decay there.",
        ),
        Code(
            "NG102",
            "the enclosure is wide",
            "The proved upper bound is far above the proved lower bound, so radii from it are pessimistic.",
            "Give more --seconds, or reduce depth and norms by regularization.",
        ),
        Code(
            "NG103",
            "pixels look unscaled",
            "Data run to about 255 where the model seems to expect values from 0 to 1; accuracy and radii are then in "
            "other units than intended.",
            "Divide the data by 255, or pass the model's own --preprocess.",
        ),
        Code(
            "NG104",
            "tied or undecided logits",
            "Some inputs have a margin of zero or below the evaluation error in float64; their radius is 0.",
            "Look at these inputs: dead outputs, duplicated rows or saturated scores.",
        ),
        Code(
            "NG105",
            "accuracy is near chance",
            "Clean accuracy is close to guessing. The data, the labels or the preprocessing probably do not fit the "
            "model.",
            "Check --preprocess, the layout and the label order.",
        ),
        Code(
            "NG106",
            "unused parameters",
            "Some parameters do not influence the output.",
            "Remove them, or check that the right output is audited.",
        ),
        Code(
            "NG107",
            "the last activation is left out of certification",
            "The network ends in softmax, log-softmax or sigmoid, which does not change which class wins; decisions "
            "are certified on the logits before it.",
            "Nothing to do.",
        ),
        Code(
            "NG108",
            "the model was in training mode",
            "An eval-mode copy was read: batch statistics frozen, dropout off. The model itself was not touched.",
            "Nothing to do: modules start in training mode, and what is deployed is the eval-mode network.",
        ),
        Code(
            "NG109",
            "certificates are vacuous at this epsilon",
            "No input is certified at an epsilon that attacks do not break either; the gap is the bound's, not the "
            "network's.",
            "Regularize (the gain falls geometrically with the layer norms), or use a smaller epsilon.",
        ),
        Code(
            "NG110",
            "a layer has no effect",
            "A layer's norm is zero or subnormal: the network is constant behind it.",
            "Check for dead layers or weights that decayed to zero.",
        ),
        Code(
            "NG111",
            "the file was not replayed",
            "The model could be read but not run for comparison, so only the reading rules vouch for the graph.",
            "Install onnxruntime, which runs more operations than the onnx package's reference implementation.",
        ),
        Code(
            "NG112",
            "an open axis was read at size 1",
            "The file leaves an axis open that is not a batch shared by all its inputs (a sequence length). The graph "
            "and every number about it hold for size 1.",
            "Pass the shape (or an example input) of the size you mean.",
        ),
        Code(
            "NG113",
            "the search was interrupted",
            "Ctrl-C ended the search for bounds. What is reported was proved by then and holds; more time may give a "
            "tighter bound.",
            "Run again, with --seconds for a limit of your own.",
        ),
    )
}
