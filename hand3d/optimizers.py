"""Muon for convolutional networks: Keras' own takes matrices alone.

Muon replaces the momentum of a weight matrix by the nearest orthogonal matrix, so that all its directions
are learnt at one pace (Jordan et al. 2024; scaled as by Liu et al. 2025, so that learning rates are of Adam's
kind).  A convolution's kernel (h, w, in, out) counts as the matrix (h w in, out) that its patches are
multiplied with.
"""

import re

import keras
from keras import ops


@keras.saving.register_keras_serializable("hand3d")
class ConvMuon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`, with AdamW for all that is no hidden kernel.

    Hidden kernels are those of convolutions and dense layers with at least `least_inputs` input channels.

    Args:
        learning_rate: of the kernels; times `adam_lr_ratio` of all else.
        exclude_layers: regular expressions; variables whose path one of them matches stay with AdamW, such as
            output layers.
        least_inputs: int; a first layer that sees an image has 3 input channels and stays with AdamW.
        **kwargs: those of `keras.optimizers.Muon`.
    """

    def __init__(self, learning_rate=0.004, *, exclude_layers=None, least_inputs=4, **kwargs):
        super().__init__(learning_rate, exclude_layers=exclude_layers, **kwargs)
        self.least_inputs = least_inputs

    def get_config(self):
        return super().get_config() | {"least_inputs": self.least_inputs}

    def _should_use_adamw(self, variable):
        kernel = variable.path.endswith("kernel") and len(variable.shape) in (2, 4)
        hidden = kernel and variable.shape[-2] >= self.least_inputs
        return not hidden or any(re.search(part, variable.path) for part in self.exclude_layers)

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        update = ops.add(gradient, self.momentum * m) if self.nesterov else m
        update = ops.reshape(update, (-1, variable.shape[-1]))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(update, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))
