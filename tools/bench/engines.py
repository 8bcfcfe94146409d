"""The float network, and others, in the peers' Python APIs: each a function that runs one inference, in one thread."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Inference = Callable[[], object]
#: of the float network, see float_graph.py
FORMS = ("conv", "matmul")


def onnxruntime(path: Path, features: NDArray[np.float32]) -> Inference:
    """One inference of LEVEL_FORM.onnx."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: features}
    return lambda: session.run(None, feed)[0]


def openvino(path: Path, features: NDArray[np.float32]) -> Inference:
    """One inference of LEVEL_FORM.onnx."""
    import openvino as ov

    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(str(path), "CPU", options).create_infer_request()
    request.set_input_tensor(ov.Tensor(features))

    def infer() -> object:
        request.infer()
        return request.get_output_tensor().data

    return infer


def mnn(path: Path, features: NDArray[np.float32]) -> Inference:
    """One inference of LEVEL_FORM.mnn."""
    from MNN import expr, nn

    runtime = nn.create_runtime_manager(({"backend": 0, "numThread": 1, "precision": "high"},))
    network = nn.load_module_from_file(str(path), ["features"], ["scores"], runtime_manager=runtime)
    variable = expr.const(features, list(features.shape), expr.NCHW)
    return lambda: network.forward(variable).read()


def litert(path: Path, features: NDArray[np.float32]) -> Inference:
    """One inference of a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(source["index"], np.resize(features, source["shape"]).astype(source["dtype"]))

    def infer() -> object:
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return infer


#: {name: (loader, file ending)}
ENGINES = {
    "onnxruntime": (onnxruntime, "onnx"),
    "openvino": (openvino, "onnx"),
    "MNN": (mnn, "mnn"),
    "ai-edge-litert": (litert, "tflite"),
}
