"""Runs a LiteRT file on the GPU accelerator alone.

    python run.py FILE IMAGE ANSWER

IMAGE and ANSWER are .npy files. Fails, with the accelerator's reasons, if it
does not take every operation.
"""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.gpu_options import GpuOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import Options


def main(file: str, image: str, answer: str) -> None:
    """Writes what the accelerator computes of an image."""
    options = Options(
        hardware_accelerators=HardwareAccelerator.GPU,
        gpu_options=GpuOptions(enforce_f32=True),
    )
    model = CompiledModel.from_file(file, options=options)
    if not model.is_fully_accelerated():
        sys.exit("It is not fully accelerated.")
    (key,) = model.get_signature_list()
    (output,) = model.get_output_tensor_details(key).values()
    inputs, outputs = (
        model.create_input_buffers(0),
        model.create_output_buffers(0),
    )
    inputs[0].write(np.load(image))
    model.run_by_index(0, inputs, outputs)
    count = int(np.prod(output["shape"]))
    found = outputs[0].read(count, np.dtype(output["dtype"]).type)
    np.save(answer, found.reshape(output["shape"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
