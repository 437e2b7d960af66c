"""A network of ±1 weights for handwritten digits: train, look at its file, run it in PyTorch and ONNX Runtime.

Run it:  python examples/binary.py
"""

from pathlib import Path
from tempfile import mkdtemp

import onnxruntime

import annealnet as an

split = an.datasets.digits(seed=0)
x, x_test = split.x_train.reshape(-1, 64), split.x_test.reshape(-1, 64)

model = an.BinaryNetworkClassifier(hidden=(64,), sweeps=500, random_state=0).fit(x, split.y_train)
print(f"held-out accuracy {model.score(x_test, split.y_test):.1%}, {model.errors_} training errors")

folder = Path(mkdtemp())
path = model.save(folder / "digits.anb")
print(f"{path.stat().st_size} bytes for {model.network_.shape.num_weights} weights, 64 biases, and how pixels are scaled")
print(f"read again it gives the same answers: {(an.load(path).predict(x_test) == model.predict(x_test)).all()}")

session = onnxruntime.InferenceSession(model.export_onnx(folder / "digits.onnx"))
answers = session.run(None, {"input": x_test})[0].argmax(axis=1)
print(f"ONNX Runtime gives the same answers: {(answers == model.predict(x_test)).all()}")
