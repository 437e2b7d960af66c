"""Neuron selection in one file: keep parts of a random network, train nothing, save a seed and a mask.

    python examples/selection.py

Takes well under a minute on two cores. Copy it and put your own arrays in place of the digits.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import annealnet as an
from annealnet.datasets import digits
from annealnet.samplers import AdiabaticSampler

# 1. Data as rows of features, labels of any kind.
split = digits(seed=0)
x_train, x_test = (x.reshape(len(x), -1) for x in (split.x_train, split.x_test))

# 2. A random layer of 512 neurons; an annealer decides which of its 5 120 output weights are there.
model = an.NeuronSelectionClassifier(width=512, random_state=0).fit(x_train, split.y_train)
print(f"output weights chosen: {model.score(x_test, split.y_test):.1%} held out, {model.num_bytes_} bytes")

# 3. The same choice with exactly a quarter of the weights per class.
quarter = an.NeuronSelectionClassifier(width=512, kept=0.25, random_state=0).fit(x_train, split.y_train)
print(f"a quarter of them:     {quarter.score(x_test, split.y_test):.1%} held out")

# 4. Both layers of a small network, annealed on the loss itself. Still no gradient.
both = an.NeuronSelectionClassifier(width=256, scope="layerwise", refine=100, random_state=0).fit(x_train, split.y_train)
print(f"both layers, 256:      {both.score(x_test, split.y_test):.1%} held out, {both.num_bytes_} bytes")

# 5. Deploy: the file holds a seed and packed bits; anyone with annealnet draws the same weights.
with tempfile.TemporaryDirectory() as folder:
    small = an.load(model.save(Path(folder) / "digits.bin"))
    assert (small.predict(x_test) == model.predict(x_test)).all()

# 6. Or as an ordinary PyTorch module, dead neurons removed (``model.export_onnx(path)`` writes ONNX).
print(model.to_module())

# 7. A simulated quantum annealer in place of the classical one: any dimod sampler fits, as far as its qubits reach.
tiny = an.NeuronSelectionClassifier(width=14, select="neurons", sampler=AdiabaticSampler(), random_state=0)
tiny.fit(x_train, split.y_train)
print(f"14 neurons, chosen by a simulated quantum annealer: {tiny.score(x_test, split.y_test):.1%}")
