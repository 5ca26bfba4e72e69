"""Other projects' own clients of the Open Inference Protocol, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.promotion.serving.conftest import Fitted, Served
from tests.system.peer_environments import peer_python

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(600)]

KSERVE = """
import asyncio, json, sys
import numpy
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def ask(url, columns, binary):
    tensors = []
    for name, values in columns.items():
        values = numpy.array(values, dtype="float64").reshape(-1, 1)
        tensors.append(InferInput(name, list(values.shape), "FP64"))
        tensors[-1].set_data_from_numpy(values, binary_data=binary)
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    ready = [await client.is_server_live(url), await client.is_server_ready(url)]
    ready.append(await client.is_model_ready(url, "heart-disease"))
    request = InferRequest("heart-disease", tensors, "42", parameters={"binary_data_output": binary})
    answer = await client.infer(url, request, model_name="heart-disease")
    return ready, answer.id, {output.name: output.as_numpy().tolist() for output in answer.outputs}

print(json.dumps(asyncio.run(ask(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "binary"))))
"""
MLSERVER = """
import json, sys, urllib.request
import pandas
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceResponse, MetadataModelResponse

url, columns = sys.argv[1] + "/v2/models/heart-disease", json.loads(sys.argv[2])
request = PandasCodec.encode_request(pandas.DataFrame(columns), use_bytes=False)
request.id = "42"
body = request.model_dump_json().encode()
asked = urllib.request.Request(url + "/infer", body, {"Content-Type": "application/json"})
answer = InferenceResponse.model_validate_json(urllib.request.urlopen(asked).read())
metadata = MetadataModelResponse.model_validate_json(urllib.request.urlopen(url).read())
assert [tensor.name for tensor in metadata.inputs] == list(columns), metadata
print(json.dumps([[], answer.id, {it.name: NumpyCodec.decode_output(it).tolist() for it in answer.outputs}]))
"""

TRITON = """
import json, sys
import numpy
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

client = InferenceServerClient(sys.argv[1].removeprefix("http://"))
columns, binary, packed = json.loads(sys.argv[2]), "binary" in sys.argv[3], sys.argv[4] or None
ready = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("heart-disease")]
assert [it["name"] for it in client.get_model_metadata("heart-disease")["inputs"]] == list(columns)
arrays = {name: numpy.array(values, dtype="float32").reshape(-1, 1) for name, values in columns.items()}
if "matrix" in sys.argv[3]:
    arrays = {"input-0": numpy.hstack(list(arrays.values()))}
tensors = []
for name, values in arrays.items():
    tensors.append(InferInput(name, list(values.shape), "FP32"))
    tensors[-1].set_data_from_numpy(values, binary_data=binary)
names = ("label", "probabilities")
answer = client.infer(
    "heart-disease",
    tensors,
    request_id="42",
    outputs=[InferRequestedOutput(name, binary_data=binary) for name in names],
    request_compression_algorithm=packed,
    response_compression_algorithm=packed,
)
print(json.dumps([ready, answer.get_response()["id"], {name: answer.as_numpy(name).tolist() for name in names}]))
"""


def _ask(python: Path, program: str, url: str, linear: Fitted, *arguments: str) -> tuple[list[bool], str, list[float]]:
    columns = {name: values.tolist() for name, values in linear.rows.dropna().items()}
    command = [str(python), "-W", "ignore", "-c", program, url, json.dumps(columns), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert 0 == done.returncode, done.stderr
    ready, identifier, outputs = json.loads(done.stdout.splitlines()[-1])
    rows = linear.rows.dropna()
    np.testing.assert_allclose(outputs["probabilities"], linear.pipeline.predict_proba(rows), atol=1e-5)
    assert linear.pipeline.predict(rows).tolist() == np.ravel(outputs["label"]).tolist()
    return ready, identifier, outputs["label"]


@pytest.mark.parametrize("form", ["json", "binary"])
def test_kserves_client_is_answered(form: str, server: Served, linear: Fitted) -> None:
    """`InferenceRESTClient`: probes, one tensor a column as numbers or as bytes, and the same back."""
    ready, identifier, _ = _ask(peer_python("kserve-0.21", "kserve==0.21.0"), KSERVE, server.url, linear, form)

    assert ([True, True, True], "42") == (ready, identifier)


def test_mlservers_types_say_what_we_read_and_read_what_we_say(server: Served, linear: Fitted) -> None:
    """A data frame by its pandas codec, the answer and the metadata by its types."""
    _, identifier, _ = _ask(peer_python("mlserver-1.7", "mlserver==1.7.1"), MLSERVER, server.url, linear)

    assert "42" == identifier


@pytest.mark.parametrize("form", ["json", "binary", "json matrix", "binary matrix"])
@pytest.mark.parametrize("packed", ["", "gzip", "deflate"])
def test_tritons_client_is_answered(form: str, packed: str, server: Served, linear: Fitted) -> None:
    """Probes and metadata, columns or one matrix, as numbers or as bytes, and compressed in both directions."""
    python = peer_python("mlserver-1.7", "mlserver==1.7.1")
    ready, identifier, _ = _ask(python, TRITON, server.url, linear, form, packed)

    assert ([True, True, True], "42") == (ready, identifier)


def test_mlservers_command_is_answered(server: Served, linear: Fitted, tmp_path: Path) -> None:
    """`mlserver infer`, which asks by Triton's client: a request a line, an answer a line."""
    rows = linear.rows.dropna()
    tensors = [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP64", "data": values.tolist()}
        for name, values in rows.items()
    ]
    (tmp_path / "requests").write_text(json.dumps({"id": "42", "inputs": tensors}) + "\n", encoding="utf-8")
    python = peer_python("mlserver-1.7", "mlserver==1.7.1")
    command = [
        str(python.with_name("mlserver")),
        "infer",
        "-u",
        server.url.removeprefix("http://"),
        "-m",
        "heart-disease",
    ]
    command += ["-i", str(tmp_path / "requests"), "-o", str(tmp_path / "answers")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    assert 0 == done.returncode, done.stdout + done.stderr
    outputs = {output["name"]: output["data"] for output in json.loads((tmp_path / "answers").read_text())["outputs"]}
    assert linear.pipeline.predict(rows).tolist() == outputs["label"]
