"""Train a network on an annealer and run it without one. Copy this file; it needs nothing but annealnet.

python examples/ising.py
"""

from __future__ import annotations

from pathlib import Path

import annealnet as an
from annealnet.ising import DeepStateRule

split = an.datasets.digits(seed=0)
x, test = split.x_train.reshape(-1, 64), split.x_test.reshape(-1, 64)

model = an.IsingNetworkClassifier(
    hidden=(96,),  # spins between the 64 input fields and the 10 × 4 output spins
    rule=DeepStateRule(reads=4, margin=60.0),  # every wrong state that is not 60 above the right one is pushed up
    epochs=12,
    random_state=0,
    checkpoint=Path("runs/ising"),  # interrupt it, start it again: it goes on, to the same network
    progress=lambda record: print(f"epoch {record.epoch}: {record.wrong:.1%} of the images had wrong deep states"),
)
model.fit(x, split.y_train)
print(f"annealed (best of {model.reads} reads): {model.score_sampled(test, split.y_test):.2%}")
print(f"deployed (no annealer, no chance):  {model.score(test, split.y_test):.2%}")
model.export_onnx("runs/ising.onnx")

# The same training on a quantum annealer: one embedding, used again for every image.
#   from annealnet.samplers import DimodLayers, qpu
#   an.IsingNetworkClassifier(hidden=(24,), sampler=DimodLayers(qpu(), annealing_time=20), ...)
