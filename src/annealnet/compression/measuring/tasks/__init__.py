"""The task: what «as good as the dense network» means, and on which axis classes lie.

Planning, re-ranking, fine-tuning, reports and baselines all ask one :class:`Task`:

    Classification(axis)    mean over samples and positions of KL(dense ‖ small)         nats
    Regression()            mean over all entries of (dense − small)²                    squared error
    any callable            task(dense, small), 0 where both answer the same             its own unit

``task=None`` looks at the answers and the labels (:mod:`annealnet.compression.measuring.choosing`) and says in the report
what it took, and why.
"""

from annealnet.compression.measuring.tasks.classification import Classification
from annealnet.compression.measuring.tasks.custom import Custom
from annealnet.compression.measuring.tasks.protocol import Judge, Task
from annealnet.compression.measuring.tasks.regression import Regression

__all__ = ["Classification", "Custom", "Judge", "Regression", "Task"]
