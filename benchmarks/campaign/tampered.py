"""Bundles that were tampered with, one kind of attack each, with hashes that fit again.

A bundle may come from anywhere. Whoever changes one can compute its hashes again, so that each
command must check what the files hold.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxredge.artifacts.hashing import sha256_of_file, sha256_of_json, with_content_hash

Json = dict[str, Any]
ESCAPES = "\x1b]0;title\x07\x1b[31m"


@dataclass(frozen=True)
class Kind:
    """One way to tamper with a bundle.

    Attributes:
        name: Name in the table.
        tamper: Changes a copy of a bundle.
        words: Part of the sentence that refuses it; empty if it is harmless.
    """

    name: str
    tamper: Callable[[Path], None] = field(repr=False)
    words: str


def bind(folder: Path, change: Callable[[Json], object] = lambda card: None) -> None:
    """Change a card, hash its files and the card again, and bind passport and results to it."""
    card = folder / "card.json"
    body = json.loads(card.read_text())
    del body["card_sha256"]
    for name in body["files"]:
        if (folder / name).is_file():
            body["files"][name] = sha256_of_file(folder / name)
    change(body)
    body["card_sha256"] = sha256_of_json(body)
    card.write_text(json.dumps(body))
    edit_passport(folder, lambda passport: passport.update(card_file_sha256=sha256_of_file(card)))


def edit_passport(folder: Path, change: Callable[[Json], object]) -> None:
    """Change a passport, and bind it to its engine again."""
    path = folder / "passport.json"
    body = json.loads(path.read_text())
    change(body)
    engine = folder / str(body["engine"])
    if engine.is_file():
        body["engine_sha256"] = sha256_of_file(engine)
    path.write_text(json.dumps(with_content_hash(body)))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Replace a file of a bundle and bind the card to it."""
    (folder / name).write_bytes(content)
    bind(folder, lambda card: card["files"].update({name: sha256_of_file(folder / name)}))


def _card(*keys: str | int, value: Any) -> Callable[[Path], None]:
    return lambda folder: bind(folder, lambda body: _set(body, keys, value))


def _passport(*keys: str | int, value: Any) -> Callable[[Path], None]:
    return lambda folder: edit_passport(folder, lambda body: _set(body, keys, value))


def _set(body: Any, keys: tuple[str | int, ...], value: Any) -> None:
    for key in keys[:-1]:
        body = body[key]
    body[keys[-1]] = value


def _raw(name: str, content: bytes) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return tamper


def _special(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return tamper


def _classes(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Rename the classes everywhere on the card."""

    def rename(value: Any, new: Mapping[str, str]) -> Any:
        if isinstance(value, dict):
            return {new.get(key, key): rename(item, new) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item, new) for item in value]
        return new.get(value, value) if isinstance(value, str) else value

    def edit(body: Json) -> None:
        old = body["classifier"]["classes"]
        changed = rename(body, dict(zip(old, change(old), strict=False)))
        body.clear()
        body.update(changed)
        body["classifier"]["classes"] = change(old)

    return lambda folder: bind(folder, edit)


def _arrays(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the arrays of the golden images."""

    def tamper(folder: Path) -> None:
        with np.load(folder / "golden.npz") as found:
            arrays = dict(found)
        change(arrays)
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        replace_file(folder, "golden.npz", stream.getvalue())

    return tamper


def _header(text: str) -> Callable[[Path], None]:
    """Replace the golden arrays by headers without content."""
    header = text.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    return lambda folder: replace_file(folder, "golden.npz", _zip({"pixels.npy": content}))


def _zip(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def write_bomb(folder: Path, name: str) -> None:
    """Write an archive of 1 MB whose array has 200 MB."""
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 20000, 10000)}\n"
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("pixels.npy", "w", force_zip64=True) as member,
    ):
        member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        for _ in range(20):
            member.write(bytes(10_000_000))
    replace_file(folder, name, stream.getvalue())


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("payload-was-run",)


def _model(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], None]:
    """Change the model that serves."""

    def tamper(folder: Path) -> None:
        name = json.loads((folder / "passport.json").read_text())["engine"]
        model = onnx.load(folder / name)
        change(model)
        replace_file(folder, name, model.SerializeToString())

    return tamper


def _compute(*nodes: onnx.NodeProto, **constants: np.ndarray) -> Callable[[Path], None]:
    """Replace the graph by one whose ``zeros``, the logits, are combined with other tensors."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
        own = {
            "classes": np.array([classes]),
            "none": np.zeros(classes, np.float32),
            **constants,
        }
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(
            [
                helper.make_node("Shape", ["image"], ["count"], start=0, end=1),
                helper.make_node("Concat", ["count", "classes"], ["sides"], axis=0),
                helper.make_node("Expand", ["none", "sides"], ["zeros"]),
                *nodes,
            ]
        )
        graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in own.items()
        )

    return _model(change)


def _external(place: str) -> Callable[[Path], None]:
    def change(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=place)

    return _model(change)


def _declared(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([10**9, 10**9])


def _body(outputs: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Identity", ["in"], [outputs]),
        ],
        "body",
        [value("i", 7, []), value("go", 9, []), value("in", 1, None)],
        [value("again", 9, []), value(outputs, 1, None)],
    )


def _branch(name: str) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["zeros"], [name])],
        name,
        [],
        [helper.make_tensor_value_info(name, 1, None)],
    )


def _type_of_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _free_side(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def _all_nan(arrays: dict[str, Any]) -> None:
    arrays.update({name: v * np.nan for name, v in arrays.items() if name.startswith("logits")})


def _first_three(arrays: dict[str, Any]) -> None:
    arrays.update({name: v[:3] for name, v in arrays.items() if name.startswith("logits")})


CARDS = (
    Kind("card: nested 100,000 times", _raw("card.json", b"[" * 10**5), "nested too deeply"),
    Kind(
        "card: objects nested 20,000 times",
        _raw("card.json", b'{"a":' * 20_000 + b"1" + b"}" * 20_000), "nested too deeply",
    ),
    Kind("card: a number of 100,000 digits", _raw("card.json", b"9" * 10**5), "exceeds 64 bits"),
    Kind("card: a number beyond any float", _raw("card.json", b"[1e999]"), "too large"),
    Kind("card: a key twice", _raw("card.json", b'{"a": 1, "a": 2}'), "'a' twice"),
    Kind("card: byte order mark", _raw("card.json", b"\xef\xbb\xbf{}"), "byte order mark"),
    Kind("card: not UTF-8", _raw("card.json", b"\xff\xfe{\0"), "not UTF-8"),
    Kind("card: empty", _raw("card.json", b""), "is empty"),
    Kind("card: named pipe", _special("card.json", os.mkfifo), "it has no card.json"),
    Kind(
        "card: link to /dev/zero",
        _special("card.json", lambda path: path.symlink_to("/dev/zero")), "it has no card.json",
    ),
    Kind("card: precision unknown", _card("facts", "precision", value="int4"), "found 'int4'"),
    Kind("card: runtime unknown", _card("config", "backend", value="../x"), "for the runtime"),
    Kind("card: input of 10^9 pixels", _card("classifier", "input_size", value=10**9), "<= 4096"),
    Kind("card: margin negative", _card("facts", "gate", "int8", "near_ties", "margin", value=-1),
         "'facts.gate.int8.near_ties.margin': Expected `float` >= 0"),
    Kind("card: margin 1e308", _card("facts", "gate", "int8", "near_ties", "margin", value=1e308),
         "near_ties.margin': Expected `float` <="),
    Kind("card: patients negative", _card("facts", "patients", "test", value=-1), "`int` >= 0"),
    Kind("card: threshold 7", _card("facts", "thresholds", "int8", "normal", value=7), "<= 1.001"),
    Kind("card: thresholds of no class", _card("facts", "thresholds", "int8", value={}),
         "Expected thresholds of int8"),
    Kind("card: one class less", _classes(lambda classes: classes[1:]), "contradicts itself"),
    Kind("card: all classes the same", _classes(lambda classes: ["x"] * len(classes)),
         "not all different"),
    Kind("card: terminal escapes in a class", _classes(lambda c: [ESCAPES, *c[1:]]),
         "cannot be printed"),
    Kind("card: line break in a class", _classes(lambda c: ["a\nb", *c[1:]]), "cannot be printed"),
    Kind("card: class of 10,000 characters", _classes(lambda c: ["a" * 10**4, *c[1:]]),
         "longer than 100"),
    Kind("card: 5,000 files",
         lambda folder: bind(folder, lambda body: body["files"].update(
             {f"f{i}": "0" * 64 for i in range(5000)})), "an artifact has at most 1000"),
    *(
        Kind(f"card: file {name[:20]!r}",
             lambda folder, name=name: bind(folder, lambda b: b["files"].update({name: "0" * 64})),
             words)
        for name, words in (
            ("../../etc/passwd", "outside its folder"), ("/etc/passwd", "outside its folder"),
            ("a\0b", "valid file name"), ("\ud800", "valid file name"), ("", "valid file name"),
            ("a" * 5000, "at most 255 bytes"),
        )
    ),
    Kind("card: no files", lambda f: bind(f, lambda body: body["files"].clear()),
         "lists no golden.npz"),
    Kind("file: link out of the bundle",
         _special("ranges.json", lambda path: path.symlink_to("/etc/hostname")),
         "outside its folder"),
    Kind("file: named pipe", _special("ranges.json", os.mkfifo), "not a regular file"),
)  # fmt: skip

PASSPORTS = (
    Kind("passport: nested 100,000 times", _raw("passport.json", b"[" * 10**5), "too deeply"),
    Kind("passport: named pipe", _special("passport.json", os.mkfifo), "is not a regular file"),
    Kind("passport: folder", _special("passport.json", Path.mkdir), "cannot be read"),
    Kind("passport: a million threads", _passport("threads", value=10**6), "<= 1024"),
    Kind("passport: batch of 10^9", _passport("throughput", "batch", value=10**9), "<= 128"),
    Kind("passport: batch of none", _passport("throughput", "batch", value=0), ">= 1"),
    Kind("passport: runtime unknown", _passport("backend", value="../x"), "names the runtime"),
    Kind("passport: engine elsewhere", _passport("engine", value="../x.onnx"), "names the engine"),
    Kind("passport: latency negative", _passport("latency_ms", "int8", "p50", value=-3), ">= 0"),
    Kind("passport: accuracy 9", _passport("candidates", 0, "accuracy", value=9), "<= 1"),
    Kind("passport: terminal escapes", _passport("reason", value=ESCAPES), ""),
)

GOLDENS = (
    Kind("goldens: not an archive", lambda f: replace_file(f, "golden.npz", b"hello"),
         "not an archive of NumPy arrays"),
    Kind("goldens: pickled object",
         _arrays(lambda a: a.update(labels=np.array([_Payload()], object))), "hold numbers"),
    Kind("goldens: header of 10^15 bytes",
         _header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,)}"),
         "declares another size"),
    Kind("goldens: header of 20 GB",
         _header("{'descr': '<f4', 'fortran_order': False, 'shape': (5000000000,)}"),
         "declares another size"),
    Kind("goldens: negative shape",
         _header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "another size"),
    Kind("goldens: nested header", _header("(" * 900 + ")" * 900), "not a NumPy array"),
    Kind("goldens: long header", _header("-" * 9000 + "1"), "not a NumPy array"),
    Kind("goldens: structured type",
         _header("{'descr': [('a', '<f4', (9999, 9999))], 'fortran_order': False, 'shape': (9,)}"),
         "hold numbers"),
    Kind("goldens: LZMA",
         lambda f: replace_file(f, "golden.npz", _zip({"pixels.npy": b"x"}, zipfile.ZIP_LZMA)),
         "compressed in a way"),
    Kind("goldens: 0.2 GB in 1 MB", lambda f: write_bomb(f, "golden.npz"), "more than 100 MB"),
    Kind("goldens: no image", _arrays(lambda a: a.update({k: v[:0] for k, v in a.items()})),
         "of 1 to 100 images"),
    Kind("goldens: float pixels", _arrays(lambda a: a.update(pixels=a["pixels"] * 1.0)),
         "pixels uint8"),
    Kind("goldens: one number", _arrays(lambda a: a.update(pixels=np.uint8(1))), "pixels uint8"),
    Kind("goldens: smaller pixels", _arrays(lambda a: a.update(pixels=a["pixels"][:, 1:, 1:])),
         "pixels uint8"),
    Kind("goldens: text", _arrays(lambda a: a.update(pixels=np.array(["a"]))), "hold numbers"),
    Kind("goldens: class 99", _arrays(lambda a: a.update(labels=a["labels"] + 99)), "labels from"),
    Kind("goldens: NaN", _arrays(_all_nan), "finite logits"),
    Kind("goldens: fewer logits", _arrays(_first_three), "logits float32"),
)  # fmt: skip

MODELS = (
    Kind("model: weights in /etc/passwd", _external("/etc/passwd"), "weights in another file"),
    Kind("model: weights in /dev/zero", _external("/dev/zero"), "weights in another file"),
    Kind("model: weights beside it", _external("ranges.json"), "weights in another file"),
    Kind("model: weight of 10^18 values", _model(_declared), "which it lacks"),
    Kind("model: operator of its own",
         _compute(helper.make_node("Own", ["zeros"], ["logits"], domain="own")),
         "operators of 'own'"),
    Kind("model: endless loop",
         _compute(helper.make_node("Loop", ["often", "yes", "zeros"], ["logits"],
                                   body=_body("out")),
                  often=np.array(2**62), yes=np.array(True)), "operator Loop"),
    Kind("model: branches",
         _compute(helper.make_node("If", ["yes"], ["logits"], then_branch=_branch("a"),
                                   else_branch=_branch("b")), yes=np.array(True)),
         "operator If"),
    Kind("model: tensor of 40 GB",
         _compute(helper.make_node("Expand", ["one", "large"], ["huge"]),
                  helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
                  helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
                  helper.make_node("Add", ["zeros", "nothing"], ["logits"]),
                  one=np.float32(1), zero=np.float32(0), large=np.array([10**9, 10])), "model-"),
    Kind("model: random bytes",
         lambda f: replace_file(f, json.loads((f / "passport.json").read_text())["engine"],
                                np.random.default_rng(0).bytes(10**5)), "not a valid ONNX model"),
    Kind("model: empty",
         lambda f: replace_file(f, json.loads((f / "passport.json").read_text())["engine"], b""),
         "is empty"),
    Kind("model: float input", _model(_type_of_input), "maps float32"),
    Kind("model: free height", _model(_free_side), "maps uint8 [?, 1, ?"),
    Kind("model: other number of classes",
         _compute(helper.make_node("Slice", ["zeros", "from", "to", "axis"], ["logits"]),
                  **{"from": np.array([0]), "to": np.array([1]), "axis": np.array([1])}),
         "model-"),
)  # fmt: skip

KINDS = (*CARDS, *PASSPORTS, *GOLDENS, *MODELS)
