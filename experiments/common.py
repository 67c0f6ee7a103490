"""What the training programs share: networks' starts, schedules, and a run from begin to end.

A run folder holds
    run.json, recipe.json, log.csv     see `experiments.run_folder`
    state.weights.h5      everything `fit` needs to go on, replaced after every epoch
    best.weights.h5, last.weights.h5   the network alone (averaged, if the recipe averages)
    weights/              the last network as it is used, with its manifest
    tensorboard/          curves, pictures, histograms, recipe (`experiments.board`)

Killed at any moment, the same command goes on; on one CPU and in float32 it ends with the weights of an
unbroken run, bit for bit: the order of the samples depends on the seed and the step alone
(`pipelines.order`), random changes on the seed and the epoch (`callbacks.Seeds`).
"""

import functools
import os

import keras

from experiments import board, devices, machines
from experiments.callbacks import (
    LAST,
    STATE,
    SaveNetwork,
    SaveState,
    Seeds,
    Speed,
    WatchLoss,
    epochs_done,
    on_plateau,
    save_weights,
)
from experiments.recipes import pick, plain_errors
from experiments.run_folder import LOG, cut_log, export, open_run, read_log
from experiments.sources import rendered
from hand3d import manifest
from hand3d.augment import Augment
from hand3d.networks.standardised import unfold
from hand3d.optimizers import ConvMuon

OUTPUTS = (r"^stage\d_maps/", "^side/", "^logits/")  # layers that Muon leaves to AdamW


def compiler():
    """What `hand3d.augment.Augment` should compile its rendering with: XLA under TensorFlow."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return functools.partial(tf.function, jit_compile=True)


def augmentation(recipe, reach, **options):
    """The `Augment` of an image network's recipe; options: those that the recipe does not have."""
    names = "scale shift roll roll_any mirror replace behind front colour pale local_contrast blur noise seed"
    return Augment(recipe.crop_size, reach, jit=compiler(), **options, **pick(recipe, names))


def schedule(recipe):
    """Learning rate over the steps.

    "cosine": warm-up, then half a cosine down to zero.  Otherwise comma-separated steps as in the paper,
    "1e-4:10000,1e-5:20000,1e-6" (PAPER.md 4); the released scripts never advanced it (fact T1): "1e-4".
    """
    if recipe.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0, recipe.steps - recipe.warmup, warmup_target=recipe.learning_rate, warmup_steps=recipe.warmup
        )
    parts = [part.split(":") for part in recipe.schedule.split(",")]
    rates = [float(part[0]) for part in parts]
    if len(rates) == 1:
        return rates[0]
    return keras.optimizers.schedules.PiecewiseConstantDecay([int(part[1]) for part in parts[:-1]], rates)


def optimizer(recipe, replicas=1):
    """Muon or AdamW (Adam without weight decay), with averaged weights if the recipe says so.

    replicas: devices; Keras clips the gradients of each before adding them, so each gets its share of `clip`.
    ValueError for another optimizer.
    """
    options = dict(
        weight_decay=recipe.weight_decay, epsilon=1e-8, global_clipnorm=recipe.clip / replicas or None
    )
    if recipe.ema:
        options |= dict(use_ema=True, ema_momentum=recipe.ema)
    if recipe.optimizer == "muon":
        made = ConvMuon(
            schedule(recipe), exclude_layers=OUTPUTS, adam_weight_decay=recipe.weight_decay, **options
        )
    elif recipe.optimizer == "adamw":
        made = keras.optimizers.AdamW(schedule(recipe), **options)
    else:
        raise ValueError(f"--set optimizer={recipe.optimizer}: muon or adamw expected")
    made.exclude_from_weight_decay(var_names=["bias", "gain", "gamma", "beta"])
    return keras.optimizers.LossScaleOptimizer(made) if recipe.precision == "mixed_float16" else made


def freeze(network, prefixes, option="--set frozen="):
    """Keeps the layers whose names begin with one of `prefixes` from learning; returns how many they are.

    prefixes: str, separated by commas; empty for none.  option: as errors call it.  ValueError where no layer
    with weights has such a name.
    """
    prefixes = tuple(part for part in prefixes.split(",") if part)
    weighted = [layer for layer in network.layers if layer.weights]
    kept = [layer for layer in weighted if prefixes and layer.name.startswith(prefixes)]
    if prefixes and not kept:
        names = ", ".join(sorted({layer.name.split("_")[0] for layer in weighted}))
        raise ValueError(f"{option}{','.join(prefixes)}: no such layers in {network.name}; there are {names}")
    for layer in kept:
        layer.trainable = False
    return len(kept)


def start_from(network, init, role):
    """Sets a network's weights from those of a `*.weights.h5` of the same network, or of a weight set.

    init: path, name or folder of a weight set ("cpm" and "vgg" are what `weights.convert` makes), or "none".
    role: of `hand3d.manifest.ROLES`, or "lifting".  Layers that the set does not have, such as more stages,
    keep their values; their names are printed.  ValueError where the set has no such network or another one.
    """
    if init == "none":
        return
    if init.endswith(".weights.h5"):
        try:
            network.load_weights(init)
        except (OSError, ValueError) as error:
            raise ValueError(f"--init {init}: does not fit {network.name} of this recipe: {error}") from error
        return
    weight_set = manifest.find(init)
    entries = manifest.network_entries(weight_set)
    parts = {role: network}
    if role == "lifting" and role not in entries:  # `proposed` is made up of two
        names = {"poseprior": "PosePrior", "viewpoint": "ViewpointNet"}
        layers = {layer.name: layer for layer in network.layers}
        parts = {part: layers.get(name) for part, name in names.items()}
    for part, target in parts.items():
        if part not in entries or target is None:
            has = ", ".join(entries)
            raise ValueError(f"--init {init}: no weights for {network.name}; the set has {has}")
        entry = entries[part]
        plain = manifest.load_network(entry, manifest.verify(weight_set, part))
        try:
            new = unfold(plain, target, skip=entry.get("random", ()))
        except ValueError as error:
            raise ValueError(f"--init {init}: {part} does not fit {network.name}: {error}") from error
        if new:
            print(f"not in {init}, so trained from scratch: {', '.join(new)}", flush=True)


def load_state(model, run, recipe):
    """Restores what `SaveState` saved; returns the number of epochs done, 0 for a new run."""
    state = os.path.join(run, STATE)
    if not os.path.exists(state):
        return 0
    with devices.scope_of(model):
        model.optimizer.build(model.trainable_variables)
    try:
        model.load_weights(state)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{state} is damaged or of another network: {error}; take another --run, or delete the file"
        ) from error
    counted = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    done = epochs_done(run, counted, recipe.epoch_steps)
    print(f"resumed {run} after epoch {done}", flush=True)
    return done


def train(
    model, recipe, arguments, training_data, validation_data, *, monitor, mode, role, shipped=None, names=None
):
    """Compiles, resumes and fits; returns the model with its last (averaged) weights.

    An epoch is `recipe.epoch_steps` steps.  arguments: of `recipes.start`.  training_data(start) -> endless
    dataset or generator of batches from example `start` of the run on.  monitor, mode: the metric that says
    which epoch is best, "min" or "max".  role: see `start_from`.  shipped(network) -> parts of
    `run_folder.export`.  names(start): the names of the samples of the batch at example `start`, a list.
    SystemExit with a message where data, weights, device or folder are at fault, or the loss is no number.
    """
    run = arguments.run
    with plain_errors():
        begun = os.path.exists(os.path.join(run, STATE))
        open_run(run, recipe, begun, getattr(arguments, "program", ""), getattr(arguments, "recipe", ""))
        with devices.scope_of(model):
            model.replicas = devices.replicas(model)
            made = optimizer(recipe, model.replicas)
            model.compile(optimizer=made, jit_compile=False if compiler() else "auto")
        if machines.count() > 1:
            machines.adapt(model)
        done = load_state(model, run, recipe)
        if not done and arguments.init:
            start_from(model.network, arguments.init, role)
    cut_log(run, done)
    values = [row.get(monitor, float("nan")) for row in read_log(run)]
    epochs = -(-recipe.steps // recipe.epoch_steps)
    if done >= epochs or (done and on_plateau(values, mode, getattr(recipe, "plateau", 0))):
        print(f"{run} is complete: {done * recipe.epoch_steps} steps")
        if recipe.ema:  # the state has them apart
            model.optimizer.finalize_variable_values(model.trainable_variables)
        with plain_errors():
            save_weights(model.network, os.path.join(run, LAST))
            finish(model, recipe, arguments, shipped)
        return model
    size = recipe.epoch_steps * recipe.batch
    with plain_errors():
        data, clock = board.timed(training_data(done * size), model)
        data, validation_data = (devices.shared(each, model) for each in (data, untuned(validation_data)))
    save_state = SaveState(run, recipe.epoch_steps)
    callbacks = [
        Seeds(recipe.seed),
        Speed(recipe.batch, clock),
        WatchLoss(run, lambda step: names(step * recipe.batch) if names else [], recipe.epoch_steps),
        save_state,  # before averages are put in place
    ]
    if recipe.ema:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    callbacks += [
        SaveNetwork(run, monitor, mode, values, getattr(recipe, "plateau", 0)),
        keras.callbacks.CSVLogger(os.path.join(run, LOG), append=True),
        *board.callbacks(run, recipe, validation_data, epochs, monitor),
        save_state.commit(),
    ]
    with plain_errors(), machines.coming_back():
        model.fit(
            data,
            validation_data=validation_data,
            validation_batch_size=recipe.batch,
            initial_epoch=done,
            epochs=epochs,
            steps_per_epoch=recipe.epoch_steps,
            callbacks=callbacks,
            verbose=2,
        )
        if recipe.ema:  # `fit` puts the averages in place after the last epoch alone
            model.network.load_weights(os.path.join(run, LAST))
        finish(model, recipe, arguments, shipped)
    return model


def finish(model, recipe, arguments, shipped):
    """The final weights with their manifest entry, if the program says what they are."""
    if shipped:
        rows = read_log(arguments.run)
        folder = export(
            arguments.run, shipped(model.network), recipe, rows[-1] if rows else {}, arguments.data
        )
        print(f"weights: {folder}", flush=True)


def train_on_pictures(model, recipe, arguments, batches, stream, **options):
    """`train` for an image network.

    batches(directory, split, *, training, limit, ...): `handsegnet_batches` or `posenet_batches` of
    `pipelines.inputs`, with the sizes bound.  stream(batch=..., split=..., ...): one of `pipelines.stream`.
    options: of `train`.
    """
    if arguments.data == "render":
        with plain_errors():
            training_data, validation, names = rendered(stream, recipe, arguments)
        return train(model, recipe, arguments, training_data, validation, names=names, **options)
    changing = dict(seed=recipe.seed, limit=recipe.limit or None, backgrounds=arguments.backgrounds)
    with plain_errors():
        validation = batches(arguments.data, "evaluation", training=False, limit=recipe.validation)
        validation = some(validation, arguments.data).cache()

    def training_data(start):
        return batches(arguments.data, "training", training=True, start=start, **changing)

    def names(start):
        named = batches(arguments.data, "training", training=True, start=start, ids=True, **changing)
        return [name.decode() for name in next(named.as_numpy_iterator())["id"]]

    return train(model, recipe, arguments, training_data, validation, names=names, **options)


def untuned(data):
    """A dataset that does not tune itself; arrays as they are.

    Keras drops the iterator of the validation before the next one, and that waits for tf.data's tuner, which
    sleeps for up to a minute: a sixth of an epoch of five minutes.
    """
    if data is None or isinstance(data, dict):
        return data
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def some(validation, data):
    """The dataset itself; ValueError where it is empty."""
    if not any(True for _ in validation.take(1)):
        raise ValueError(f"{data}: nothing to validate on in the split 'evaluation'")
    return validation
