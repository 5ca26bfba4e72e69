"""What is dangerous in a model artifact, and what is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from promotion.artifacts.pickles import hidden_pickle, is_pickle
from promotion.artifacts.scanning import problems
from promotion.errors import ArtifactUnsafe

MLMODEL = {
    "artifact_path": "/srv/mlartifacts/1/models/m-0/artifacts",
    "flavors": {
        "python_function": {
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": "mlflow.sklearn",
            "model_path": "model.skops",
            "python_version": "3.11.7",
        },
        "sklearn": {"code": None, "pickled_model": "model.skops", "serialization_format": "skops"},
    },
    "saved_input_example_info": {"artifact_path": "input_example.json"},
}


class Malicious:
    """Unpickled, it would touch a file."""

    def __init__(self, witness: Path) -> None:
        self._witness = witness

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        """Call the shell."""
        return os.system, (f"touch {self._witness}",)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture(scope="session")
def skops_file() -> bytes:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    content: bytes = skops.io.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    return content


@pytest.fixture
def model(tmp_path: Path, skops_file: bytes) -> Path:
    """A folder as training registers it, with a real skops file."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.skops").write_bytes(skops_file)
    (folder / "MLmodel").write_text(yaml.safe_dump(MLMODEL))
    (folder / "conda.yaml").write_text("channels:\n- conda-forge\ndependencies:\n- python=3.11.7\n")
    (folder / "python_env.yaml").write_text("python: 3.11.7\nbuild_dependencies:\n- pip==24.0\n")
    (folder / "requirements.txt").write_text("catboost\nlightgbm\noptuna\nscikit-learn\n")
    (folder / "input_example.json").write_text('{"columns": ["a"], "data": [[0.5]]}')
    (folder / "model_card.md").write_text("(in short\nc\nthis is a model card.\n")
    (folder / "forest.txt").write_text("tree\nversion=v4\nnum_class=1\n")
    (folder / "empty").write_text("")
    np.save(folder / "weights.npy", np.arange(640, 700))
    (folder / "raw.bin").write_bytes(np.arange(640, 700).tobytes())
    (folder / "notes.txt").write_text("x^2 is a square\n")
    return folder


def _rewrite(folder: Path, place: str, value: object) -> None:
    """Set one value of MLmodel, below `flavors`."""
    document = yaml.safe_load((folder / "MLmodel").read_text())
    node = document["flavors"]
    *parents, last = place.split(".")
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    (folder / "MLmodel").write_text(yaml.safe_dump(document))


def _zipped(content: bytes, name: str = "data/0") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def test_our_own_artifacts_are_clean(model: Path) -> None:
    """skops, YAML, JSON, text, numbers: nothing to report, not even where text starts like an opcode."""
    assert [] == problems(model)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["model.pkl", "model.skops", "weights.bin", "MLmodel", "requirements.txt"])
def test_a_malicious_pickle_is_reported_and_does_not_run(model: Path, witness: Path, name: str, protocol: int) -> None:
    """Whatever its name and protocol."""
    (model / name).write_bytes(pickle.dumps(Malicious(witness), protocol))
    assert any(line.startswith(f"{name}: is a pickle") for line in problems(model))
    assert not witness.exists()


@pytest.mark.parametrize(
    "pack",
    [
        _zipped,
        lambda content: _zipped(_zipped(content)),
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
        zlib.compress,
        lambda content: zlib.compress(content, 1),
        lambda content: content + _zipped(b"innocent"),
        lambda content: _zipped(gzip.compress(content)),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_packing_hides_no_pickle(model: Path, witness: Path, pack: Callable[[bytes], bytes], protocol: int) -> None:
    """Archives, archives in archives, compressed streams, and a pickle in front of an archive."""
    (model / "model.skops").write_bytes(pack(pickle.dumps(Malicious(witness), protocol)))
    assert any("is a pickle" in line and line.startswith("model.skops") for line in problems(model))
    assert not witness.exists()


def test_an_array_of_objects_is_a_pickle(model: Path, witness: Path) -> None:
    """NumPy pickles what is no number, in .npy and .npz."""
    objects = np.array([Malicious(witness)], dtype=object)
    np.save(model / "a.npy", objects)
    np.savez(model / "b.npz", objects)
    assert ["a.npy: is an array of pickled objects", "b.npz!arr_0.npy: is an array of pickled objects"] == [
        line.split(",")[0] for line in problems(model)
    ]
    assert not witness.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"I0x10\n0cposix\nsystem\n(S'id'\ntR.",
        b"(S'id'\niposix\nsystem\n.",
        b"(cposix\nsystem\nS'id'\no.",
        b"cposix\nsystem\n(S'id'\ntRthis is not a pickle any more",
        b"\x80\x00cposix\nsystem\n(S'id'\ntR.",
        b"((0cposix\nsystem\n(S'id'\ntR.",
        b"cantigravity\nfly\n.",
        b"\x8c\x05posix\x8c\x06system\x93(\x8c\x02idtR.",
    ],
)
def test_a_pickle_that_tools_stumble_over_is_still_one(content: bytes) -> None:
    """An unpickler runs up to the first opcode it refuses, and accepts more than `pickletools.genops`."""
    assert is_pickle(content)


@pytest.mark.parametrize("value", [{}, [1, 2.5, "text"], {"a": (1, None)}, b"bytes" * 100, range(3), np.float64(1)])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_harmless_pickle_is_a_pickle(value: object, protocol: int) -> None:
    """There is no good pickle in an artifact."""
    assert is_pickle(pickle.dumps(value, protocol))


def test_a_name_is_enough(model: Path) -> None:
    """A file that is called a pickle is refused though its content is not recognised."""
    (model / "model.joblib").write_bytes(b"\x00something new")
    assert [line for line in problems(model) if line.startswith("model.joblib: is named as a pickle")]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("sklearn.pickled_model", "../../other/model.skops", "leads out of the artifact"),
        ("sklearn.pickled_model", "/etc/passwd", "leads out of the artifact"),
        ("lightgbm.data", "parts/..", "leads out of the artifact"),
        ("python_function.model_path", "..\\model", "leads out of the artifact"),
        ("python_function.env.conda", "~/conda.yaml", "leads out of the artifact"),
        ("python_function.config.files", ["ok", "file:///etc/passwd"], "leads out of the artifact"),
        ("python_function.code", "code", "is Python that would run"),
        ("sklearn.code", "code", "is Python that would run"),
        ("python_function.model_code_path", "agent.py", "is Python that would run"),
        ("python_function.loader_module", "mlflow.pyfunc.model", "not a loader we trust"),
        ("python_function.loader_module", "loader", "not a loader we trust"),
        ("python_function.loader_module", "mlflow_evil", "not a loader we trust"),
        ("python_function.loader_module", "mlflow.keras", "not a loader we trust"),
        ("python_function.loader_module", "mlflow.sklearn.utils", "not a loader we trust"),
        ("xgboost.model_class", "os.abort", "is a class outside its library"),
        ("transformers", {"task": "text-classification"}, "a load may run code that its files name"),
    ],
)
def test_a_description_that_leads_astray_is_reported(model: Path, place: str, value: object, message: str) -> None:
    """Paths out of the folder and Python from the folder, under whatever key, each named."""
    _rewrite(model, place, value)
    (line,) = problems(model)
    assert line.startswith(f"MLmodel: flavors.{place}")
    assert message in line


def test_a_type_under_an_alias_is_judged_at_each_of_its_places(model: Path) -> None:
    """What stands under a harmless key first does not hide under the one that trusts it."""
    (model / "MLmodel").write_text(
        "flavors:\n  sklearn: {a: &types [os.system], pickled_model: model.skops, skops_trusted_types: *types}\n"
    )
    (line,) = problems(model)
    assert "flavors.sklearn.skops_trusted_types.0: 'os.system' is a type that nobody" in line


def test_a_description_in_a_folder_below_is_judged(model: Path) -> None:
    """A flavour may be told that its model begins there."""
    (model / "inner").mkdir()
    (model / "inner" / "MLmodel").write_text("flavors: {sklearn: {skops_trusted_types: [os.system]}}")
    (line,) = problems(model)
    assert line.startswith("inner/MLmodel: flavors.sklearn.skops_trusted_types.0: 'os.system' is a type")


def test_folders_without_end_are_refused(model: Path) -> None:
    """Before anything in them is looked at."""
    model.joinpath(*["d"] * 60).mkdir(parents=True)
    with pytest.raises(ArtifactUnsafe, match="more than 50 deep"):
        problems(model)


def test_an_example_that_leads_out_is_reported(model: Path) -> None:
    """MLflow opens it for whoever asks for an example of the input."""
    document = MLMODEL | {"saved_input_example_info": {"artifact_path": "../../etc/passwd"}}
    (model / "MLmodel").write_text(yaml.safe_dump(document))
    (line,) = problems(model)
    assert "MLmodel: saved_input_example_info.artifact_path: '../../etc/passwd' leads out of the artifact" == line


@pytest.mark.parametrize(
    "header",
    [
        b'{"descr": "|O", \'shape\': (1,)}',
        b"{\n'descr': '|O', 'shape': (1,)}",
        b"{'descr': '|\\x4f', 'shape': (1,)}",
        b"{'descr': 'object', 'shape': (1,)}",
        b"{'descr': 'i4,O', 'shape': (1,)}",
        b"{'descr': [('a', '<i4'), ('b', 'O')], 'shape': (1,)}",
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_an_array_of_objects_is_reported_however_its_header_is_spelled(
    model: Path, header: bytes, version: int
) -> None:
    """NumPy reads any Python literal."""
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    (model / "array.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + header + bytes(200))
    (line,) = problems(model)
    assert line.startswith("array.npy: is an array of pickled objects")


def test_an_array_with_a_field_named_like_a_type_is_none_of_objects(model: Path) -> None:
    """Its types decide; `Other` only begins like one."""
    np.save(model / "fields.npy", np.zeros(3, dtype=[("Other", "<f8"), ("Objective", "<i4")]))
    assert [] == problems(model)


@pytest.mark.parametrize("start", ["02214c18", "502a4d180000000028b52ffd", "5f2a4d18", "377abcaf271c"])
def test_what_cannot_be_unpacked_here_is_reported(model: Path, start: str) -> None:
    """Older LZ4, frames that readers skip, 7z."""
    (model / "packed").write_bytes(bytes.fromhex(start) + bytes(100))
    (line,) = problems(model)
    assert line.startswith("packed: is compressed (")


@pytest.mark.parametrize("loader", ["mlflow.sklearn", "mlflow.lightgbm", "mlflow.catboost", "models.ensemble"])
def test_our_own_loaders_are_trusted(model: Path, loader: str) -> None:
    """MLflow's flavours and this project's."""
    _rewrite(model, "python_function.loader_module", loader)
    assert [] == problems(model)


@pytest.mark.parametrize("text", ["", "- 1", "flavors: 3", "a: [", "flavors: " + "[" * 1500, "\x00"])
def test_a_broken_description_is_reported(model: Path, text: str) -> None:
    """One line, no traceback."""
    (model / "MLmodel").write_text(text)
    assert [line for line in problems(model) if line.startswith("MLmodel: not an MLmodel file")]


def test_anchors_do_not_multiply(model: Path) -> None:
    """A few lines of YAML that stand for billions of values are refused in no time."""
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)), "flavors: {f: *a39}"]
    (model / "MLmodel").write_text("\n".join(lines))
    assert ["MLmodel: not an MLmodel file: 16: a15: aliases that stand for more than"] == [
        line.partition(" 100,000")[0] for line in problems(model)
    ]


def test_links_and_pipes_are_reported(model: Path, tmp_path: Path) -> None:
    """They are neither followed nor opened."""
    (model / "data").symlink_to(tmp_path, target_is_directory=True)
    (model / "MLmodel").unlink()
    (model / "MLmodel").symlink_to("/etc/passwd")
    os.mkfifo(model / "pipe")
    kinds = {"MLmodel": "a symbolic link", "data": "a symbolic link", "pipe": "neither file nor folder"}
    expected = [f"{name}: is {kind}, which may lead out of the artifact" for name, kind in kinds.items()]
    assert expected == problems(model)


@pytest.mark.parametrize("name", ["../outside", "/etc/cron.d/x", "a/../../b"])
def test_an_archive_must_not_lead_out(model: Path, name: str) -> None:
    """Members that an unpacker would write elsewhere."""
    (model / "model.skops").write_bytes(_zipped(b"text", name))
    assert [f"model.skops!{name}: is a path that leads out of the archive"] == problems(model)


def test_what_cannot_be_looked_into_is_reported(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged, encrypted, unknown or too much: not seen is not clean."""
    damaged = bytearray(gzip.compress(b"text" * 1000))
    damaged[20] ^= 255
    (model / "damaged.gz").write_bytes(damaged)
    (model / "lz4").write_bytes(b"\x04\x22\x4d\x18rest")
    encrypted = bytearray(_zipped(b"text"))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    (model / "locked.zip").write_bytes(encrypted)
    deep = b"text"
    for _ in range(6):
        deep = _zipped(deep)
    (model / "zdeep").write_bytes(deep)
    assert ["damaged.gz!", "locked.zip", "lz4", "zdeep!data/0!data/0!data/0!data/0"] == [
        line.split(":")[0] for line in problems(model)
    ]
    for name in ("damaged.gz", "lz4", "locked.zip", "zdeep"):
        (model / name).unlink()
    monkeypatch.setattr("promotion.artifacts.scanning._MAX_UNPACKED_BYTES", 100_000)
    (model / "bomb.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    assert ["bomb.gz!: was not looked into: the artifact unpacks to more than 100000 bytes"] == problems(model)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """Not an artifact without problems."""
    with pytest.raises(ArtifactUnsafe, match="nowhere: cannot be listed"):
        problems(tmp_path / "nowhere")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("junk", [b"\x00", b"\xff", b"#!model\n", b"\x93"])
def test_a_pickle_behind_junk_is_reported(model: Path, witness: Path, junk: bytes, protocol: int) -> None:
    """A loader may skip what stands before it."""
    (model / "weights.bin").write_bytes(junk + pickle.dumps(Malicious(witness), protocol))

    assert any(line.startswith("weights.bin: holds a pickle") for line in problems(model))


def test_a_pickle_before_an_archive_is_reported(model: Path, witness: Path) -> None:
    """A zip archive is read from its end, so that anything may stand before it."""
    (model / "weights.bin").write_bytes(b"\x00" + pickle.dumps(Malicious(witness)) + _zipped(b"text"))

    assert ["weights.bin: holds a pickle before the archive that it also is"] == problems(model)


def test_a_pickle_deep_inside_a_file_is_reported(model: Path, witness: Path) -> None:
    """Anywhere, where it says its protocol."""
    (model / "weights.bin").write_bytes(bytes(range(256)) * 400 + pickle.dumps(Malicious(witness)))

    assert any("weights.bin: holds a pickle behind its first 102400 bytes" in line for line in problems(model))


def test_numbers_and_noise_hold_no_pickle() -> None:
    """Random bytes hold a pickle's first two bytes in every page, and call nothing."""
    assert hidden_pickle(np.random.default_rng(7).bytes(5_000_000)) is None


def test_a_pickle_in_a_tar_archive_is_reported(model: Path, witness: Path) -> None:
    """Plain or compressed; and a member that leads outside."""
    content = pickle.dumps(Malicious(witness))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in ("inner/x", "../../outside"):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for name, pack in (("a.tar", bytes), ("b.bin", gzip.compress), ("c.bin", lzma.compress)):
        (model / name).write_bytes(pack(packed.getvalue()))

    found = "\n".join(problems(model))

    assert "a.tar!inner/x: is a pickle" in found
    assert "b.bin!!inner/x: is a pickle" in found
    assert "c.bin!!inner/x: is a pickle" in found
    assert "a.tar!../../outside: is a path that leads out of the archive" in found


def test_flavours_that_name_different_files_are_reported(model: Path, skops_file: bytes) -> None:
    """`mlflow.pyfunc` reads one key, `mlflow.sklearn` another: what is scored must be what consumers load."""
    (model / "other.skops").write_bytes(skops_file)
    _rewrite(model, "python_function.model_path", "other.skops")

    (found,) = problems(model)
    assert "flavours disagree on which file is the model: python_function.model_path says 'other.skops', " in found
    assert found.endswith("sklearn.pickled_model says 'model.skops'")


def test_types_that_only_the_model_trusts_are_reported(model: Path) -> None:
    """Ours are no news; MLflow would take any that stand here."""
    _rewrite(model, "sklearn.skops_trusted_types", ["numpy.dtype"])
    assert [] == problems(model)

    _rewrite(model, "sklearn.skops_trusted_types", ["numpy.dtype", "os.system"])
    (found,) = problems(model)
    assert "skops_trusted_types.1: 'os.system' is a type that nobody but the model itself trusts" in found


def test_a_description_of_many_megabytes_is_not_read(model: Path) -> None:
    """Parsing it would take minutes."""
    with (model / "MLmodel").open("a") as file:
        file.write("x: [" + "0, " * 2_000_000 + "0]\n")

    (found,) = problems(model)
    assert "MLmodel: not an MLmodel file:  larger than 4,194,304 bytes" in found


_MERGED = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
)
_TINY = {
    "merged keys": ("MLmodel", f"flavors: {{}}\n{_MERGED}".encode(), "aliases that stand for more than"),
    "brackets": ("MLmodel", b"flavors: " + b"[" * 100_000, "more than 40 deep"),
    "indentation": ("MLmodel", "\n".join(" " * i + "a:" for i in range(1000)).encode(), "more than 40 deep"),
    "values": (
        "MLmodel",
        b"flavors: {}\n" + b"".join(b"k%d: &b%d x\n" % (i, i) for i in range(60_000)),
        "values; shorten",
    ),
    "digits": ("MLmodel", b"flavors: {}\nk: " + b"1" * 1_000_000, "a number of 1,000,000 characters"),
    "sixties": ("MLmodel", b"flavors: {}\nk: 1" + b":59" * 300_000, "a number of 900,001 characters"),
    "pushes and pops": ("w.bin", b"xN0" + b"N0" * 2_000_000, "takes too long to follow"),
    "starts": ("w.bin", b"x" + b"\x80\x04c" * 600_000 + b"\n", "takes too long to follow"),
    "gzip": ("g.gz", gzip.compress(b"\0" * 150_000_000, 1), "unpacks to more than 104857600 bytes"),
    "xz": ("g.xz", lzma.compress(b"\0" * 150_000_000, preset=0), "unpacks to more than 104857600 bytes"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize(("name", "content", "told"), _TINY.values(), ids=_TINY)
@pytest.mark.system
def test_a_small_file_does_not_keep_us_for_minutes(model: Path, name: str, content: bytes, told: str) -> None:
    """Aliases, depth, numbers, opcodes and unpacking end at a bound, and the file is refused."""
    (model / name).write_bytes(content)

    assert [line for line in problems(model) if line.startswith(name) and told in line]


@pytest.mark.timeout(30)
@pytest.mark.system
def test_an_archive_of_countless_members_is_not_looked_through(model: Path) -> None:
    """One line says where it was left."""
    with zipfile.ZipFile(model / "many.zip", "w") as archive:
        for number in range(5002):
            archive.writestr(str(number), b"")

    assert ["many.zip!5000: and what follows was not looked into: more than 5,000 members"] == problems(model)


def test_code_that_runs_in_the_sandbox_alone_is_no_danger(tmp_path: Path) -> None:
    """A pickle, code beside the model and its absolute path are not; what leads out of the artifact still is."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "MLmodel").write_text(
        "flavors: {python_function: {loader_module: mlflow.pyfunc.model, code: code, model_code_path: /home/ann/a.py}}"
    )
    assert len(problems(tmp_path)) > 2
    assert [] == problems(tmp_path, code_is_boxed=True)
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {pickled_model: ../model.pkl}}")
    (tmp_path / "link").symlink_to("/etc/passwd")
    found = problems(tmp_path, code_is_boxed=True)
    assert 2 == len(found)
    assert all("lead" in line for line in found)
