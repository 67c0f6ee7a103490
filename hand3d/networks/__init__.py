"""The paper's networks as functional Keras models, layers named as in the published weights; a hand model."""

from hand3d.networks.hand_fit import hand_fit
from hand3d.networks.handsegnet import handsegnet
from hand3d.networks.lifting import lifting
from hand3d.networks.posenet import posenet
from hand3d.networks.poseprior import poseprior
from hand3d.networks.viewpoint import viewpoint

__all__ = ["hand_fit", "handsegnet", "lifting", "posenet", "poseprior", "viewpoint"]
