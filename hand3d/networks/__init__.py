"""The paper's networks as functional Keras models, layers named as in the published weights."""

from hand3d.networks.handsegnet import handsegnet
from hand3d.networks.lifting import lifting
from hand3d.networks.posenet import posenet
from hand3d.networks.poseprior import poseprior
from hand3d.networks.viewpoint import viewpoint

__all__ = ["handsegnet", "lifting", "posenet", "poseprior", "viewpoint"]
