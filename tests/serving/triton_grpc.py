"""Sends one request to Triton over gRPC; runs in `.venv-triton`.

Reads the request as JSON and prints the answer as such, data in base64: see
`predict_grpc`. What the client would check before it sends is left out.
"""

import base64
import json
import sys

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


def main() -> None:
    asked = json.load(sys.stdin)
    request = service_pb2.ModelInferRequest(model_name=asked["model"])
    for name, datatype, shape, data in asked["inputs"]:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(base64.b64decode(data))
    with grpc.insecure_channel(asked["address"]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            answer = stub.ModelInfer(request, timeout=60)
        except grpc.RpcError as error:
            told = {"code": error.code().name, "message": error.details()}
        else:
            told = {
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
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
