"""``ortist gradient``: extend an ONNX model by its gradient."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ortist.cli.interrupt import interrupts
from ortist.cli.outputs.file import check_distinct
from ortist.cli.parameters import Force
from ortist.cli.streams import print_line
from ortist.engine import InputError
from ortist.engine.images import check_writable
from ortist.models.files import reason, write_whole

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def gradient(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX model, opset 7 or newer.")],
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            metavar="NAME",
            help="Tensor that is differentiated, the sum of its elements if it has several; more"
            " than one with --vjp.",
            show_default="the model's output, if it has one",
        ),
    ] = None,
    wrt: Annotated[
        list[str] | None,
        typer.Option(
            "--wrt",
            metavar="NAME",
            help="Tensor with respect to which; may be given several times, weights too.",
            show_default="all inputs of floating point",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT", help="File for the result.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Say what stands in the way, all of it; write nothing.")
    ] = False,
    as_vjp: Annotated[
        bool,
        typer.Option("--vjp", help="Make the gradients at the outputs inputs, cotangent/NAME."),
    ] = False,
    held: Annotated[
        list[str] | None,
        typer.Option("--held", metavar="NAME", help="Tensor taken as constant."),
    ] = None,
    straight_through: Annotated[
        bool, typer.Option("--straight-through", help="Let gradients pass quantizers.")
    ] = False,
    force: Force = False,
) -> None:
    """Extend an ONNX model by gradients, in standard operators, for any ONNX runtime.

    OUT computes what MODEL does and gradient/NAME for each NAME of --wrt. Exit code 1: --list found
    something in the way.
    """
    from ortist.export.autodiff.preparation import OPSET, opset_of
    from ortist.export.differentiate import differentiate, obstacles, vjp

    if listed == (out is not None):
        raise InputError("give either -o OUT or --list")
    if out is not None:
        check_distinct([("the model", model), ("the result", out)])
        check_writable(out, force)
    proto = _load(model)
    outputs = output or [_only_output(proto.graph)]
    sources = wrt or _inputs(proto.graph)
    if out is None:
        found = obstacles(
            proto, outputs, sources, held=held or [], straight_through=straight_through
        )
        for obstacle in found or ["nothing stands in the way"]:
            print_line(str(obstacle))
        if opset_of(proto) < OPSET:
            print_line(f"the result would be converted from opset {opset_of(proto)} to {OPSET}")
        raise typer.Exit(1 if found else 0)
    _check_place(proto, model, out)
    if len(outputs) > 1 and not as_vjp:
        raise InputError(f"one output is differentiated, {len(outputs)} are given: add --vjp")
    derive = partial(vjp, proto, outputs) if as_vjp else partial(differentiate, proto, outputs[0])
    made = derive(sources, held=held or [], straight_through=straight_through)
    before, after = opset_of(proto), opset_of(made)
    del proto, derive  # of which there need not be two when a third is written
    _write(out, made)
    interrupts.wrote(out)
    if before != after:
        print_line(f"converted from opset {before} to {after}")
    stored = {tensor.name for tensor in made.graph.initializer}
    inputs = _listed([value.name for value in made.graph.input if value.name not in stored])
    print_line(f"{out}: from {inputs} to {_listed([value.name for value in made.graph.output])}")


def _load(path: Path) -> ModelProto:
    import onnx

    try:
        # Weights in files of their own stay there.
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}") from error
    except Exception:  # Protobuf's, and those of the readers of other formats.
        proto = onnx.ModelProto()
    if not proto.graph.node or not proto.opset_import:
        raise InputError(f"{path} is no ONNX model")
    return proto


def _only_output(graph: GraphProto) -> str:
    names: list[str] = [value.name for value in graph.output]
    if len(names) != 1:
        raise InputError(f"the model has several outputs, choose by --output: {_listed(names)}")
    return names[0]


def _inputs(graph: GraphProto) -> list[str]:
    """Return the inputs of floating point that have no value in the model."""
    from ortist.export.autodiff.paths import FLOATS

    stored = {tensor.name for tensor in graph.initializer}
    names = [
        value.name
        for value in graph.input
        if value.name not in stored and value.type.tensor_type.elem_type in FLOATS
    ]
    if not names:
        every = [value.name for value in graph.input if value.name not in stored]
        raise InputError(
            f"no input is of floating point ({_listed(every)}): give --wrt, the output of an"
            " embedding, say"
        )
    return names


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _check_place(proto: ModelProto, model: Path, out: Path) -> None:
    """Refuse a folder in which the result would not find weights that are files of their own."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    from ortist.export.builder import subgraphs, with_inner

    inner = [graph for node in with_inner(proto.graph.node) for graph in subgraphs(node)]
    tensors = [tensor for graph in (proto.graph, *inner) for tensor in graph.initializer]
    tensors += [item.t for node in with_inner(proto.graph.node) for item in node.attribute]
    stored = [tensor for tensor in tensors if uses_external_data(tensor)]
    if stored and model.resolve().parent != out.resolve().parent:
        file = ExternalDataInfo(stored[0]).location
        raise InputError(f"weights are in {file!r}, next to {model}: write OUT there too")


def _write(path: Path, proto: ModelProto) -> None:
    try:
        write_whole(path, proto.SerializeToString())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}") from error
    except ValueError as error:  # protobuf's, of more than 2 GB
        raise InputError(
            f"{path} would be larger than 2 GB: save MODEL with its weights outside first"
        ) from error
