"""Sends requests to Triton over gRPC; runs in `.venv-triton`.

Each line of the input is a request as JSON, each line of the output its answer,
data in base64: see `triton_server.GrpcClient`. What a client would check before
it sends is left out.
"""

import base64
import json
import sys
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for line in sys.stdin:
            print(json.dumps(answer(stub, json.loads(line))), flush=True)


def answer(stub: Any, asked: dict[str, Any]) -> dict[str, Any]:
    request = service_pb2.ModelInferRequest(model_name=asked["model"])
    for name, datatype, shape, data in asked["inputs"]:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(base64.b64decode(data))
    try:
        call = stub.ModelInfer.future(request, timeout=asked["seconds"])
        if asked["cancel"] and not call.done():
            call.cancel()
        answer = call.result()
    except grpc.FutureCancelledError:
        return {"code": "CANCELLED", "message": "by the client"}
    except grpc.RpcError as error:
        return {"code": error.code().name, "message": error.details()}
    return {
        "outputs": [
            [
                output.name,
                output.datatype,
                list(output.shape),
                base64.b64encode(data).decode("ascii"),
            ]
            for output, data in zip(
                answer.outputs, answer.raw_output_contents, strict=True
            )
        ]
    }


if __name__ == "__main__":
    main()
