import keras
import numpy as np
import pytest
import tensorflow as tf
from layer_checks import run_config_test

from keras_pspnet.optimizers import SGD, PolynomialDecay

STEPS = 12
PATHS = ("stage2/kernel", "stage2/gamma", "stage2/beta", "head_conv/kernel")
PATHS += ("head_classifier/bias",)


def make_variables():
    """Variables with the paths and names that a model's would have."""
    rng = np.random.default_rng(0)
    variables = []
    for path in PATHS:
        scope, name = path.split("/")
        with keras.name_scope(scope):
            variables.append(
                keras.Variable(
                    rng.normal(0, 1, (3, 2)).astype("float32"), name=name
                )
            )
    assert tuple(variable.path for variable in variables) == PATHS
    return variables


def gradients_of(step):
    rng = np.random.default_rng(100 + step)
    return [rng.normal(0, 1, (3, 2)).astype("float32") for _ in PATHS]


def poly(rate, total):
    return [rate * (1 - step / total) ** 0.9 for step in range(total)]


def run_reference(rates, momentum=0.9, l2=1e-4, decayed=PATHS, factors=None):
    """The update rule, in float64, one variable and number at a time."""
    weights = [v.numpy().astype("float64") for v in make_variables()]
    velocities = [np.zeros((3, 2)) for _ in PATHS]
    for step, rate in enumerate(rates):
        for i, gradient in enumerate(gradients_of(step)):
            own_rate = rate * (factors or {}).get(PATHS[i], 1.0)
            own_l2 = l2 if PATHS[i] in decayed else 0.0
            full = gradient.astype("float64") + own_l2 * weights[i]
            velocities[i] = momentum * velocities[i] - own_rate * full
            weights[i] = weights[i] + velocities[i]
    return weights


def run_ours(optimizer, steps=STEPS, graph=False, variables=None, first=0):
    variables = variables or make_variables()
    optimizer.build(variables)

    def apply(*gradients):
        optimizer.apply(list(gradients), variables)

    if graph:
        apply = tf.function(apply)
    for step in range(first, steps):
        apply(*map(tf.constant, gradients_of(step)))
    return [variable.numpy() for variable in variables]


def assert_close(ours, expected, tolerance=2e-6):
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_update_rule(graph, momentum, l2):
    optimizer = SGD(PolynomialDecay(0.1, STEPS), momentum=momentum, l2=l2)
    expected = run_reference(poly(0.1, STEPS), momentum, l2)
    assert_close(run_ours(optimizer, graph=graph), expected)


def test_defaults_are_the_papers():
    assert_close(run_ours(SGD()), run_reference([0.01] * STEPS))


def test_norm_and_bias_can_be_exempt():
    optimizer = SGD(0.1, l2=0.05, decay_norm_and_bias=False)
    expected = run_reference(
        [0.1] * STEPS,
        l2=0.05,
        decayed=("stage2/kernel", "head_conv/kernel"),
    )
    assert_close(run_ours(optimizer), expected)
    everything = run_reference([0.1] * STEPS, l2=0.05)
    for index, path in enumerate(PATHS):
        same = np.allclose(expected[index], everything[index], atol=1e-4)
        assert same == path.endswith("kernel")


@pytest.mark.parametrize("graph", [False, True])
def test_lr_multipliers(graph):
    optimizer = SGD(
        PolynomialDecay(0.02, STEPS),
        l2=0.05,
        # The second expression finds head_conv too, and does not count.
        lr_multipliers={r"^head_": 10.0, "conv": 0.0, "gamma$": 0.5},
    )
    factors = {
        "head_conv/kernel": 10.0,
        "head_classifier/bias": 10.0,
        "stage2/gamma": 0.5,
    }
    expected = run_reference(poly(0.02, STEPS), l2=0.05, factors=factors)
    assert_close(run_ours(optimizer, graph=graph), expected, 2e-5)


def test_without_decay_it_is_keras_sgd():
    ours = run_ours(SGD(PolynomialDecay(0.1, STEPS), l2=0.0))
    theirs = run_ours(
        keras.optimizers.SGD(PolynomialDecay(0.1, STEPS), momentum=0.9)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("total_steps", [0, -3, 2.5, "7"])
def test_decay_refuses_a_length(total_steps):
    with pytest.raises(
        ValueError, match="`total_steps` must be a positive integer"
    ):
        PolynomialDecay(0.01, total_steps)


def test_decay_of_open_length_has_its_first_rate_alone():
    decay = PolynomialDecay(0.01)
    optimizer = SGD(decay)
    assert float(decay(0)) == float(optimizer.learning_rate)
    assert float(decay(0)) == pytest.approx(0.01)
    variables = make_variables()
    optimizer.build(variables)
    error = "`total_steps` must be set before a step is taken.*=None$"
    with pytest.raises(ValueError, match=error):
        decay(1)
    # In a graph the step is not known.
    with pytest.raises(ValueError, match=error):
        run_ours(SGD(decay), graph=True)
    copy = PolynomialDecay.from_config(decay.get_config())
    assert copy.total_steps is None
    copy.total_steps = 20
    assert float(copy(10)) == pytest.approx(0.01 * 0.5**0.9)


def test_decay_is_keras_s_to_the_bit():
    theirs = keras.optimizers.schedules.PolynomialDecay(
        0.037, 1000, end_learning_rate=0.0, power=0.9
    )
    ours = PolynomialDecay(0.037, 1000)
    for step in range(0, 1099, 7):
        assert float(ours(step)) == float(theirs(step))


def test_state_saved_and_restored():
    whole = run_ours(SGD(PolynomialDecay(0.1, STEPS), l2=0.05))
    first = SGD(PolynomialDecay(0.1, STEPS), l2=0.05)
    variables = make_variables()
    run_ours(first, 5, variables=variables)
    store = {}
    first.save_own_variables(store)
    second = SGD.from_config(first.get_config())
    second.build(variables)
    second.load_own_variables(store)
    assert int(second.iterations) == 5
    rest = run_ours(second, variables=variables, first=5)
    for a, b in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(a, b)


def test_config_round_trip():
    optimizer = SGD(
        PolynomialDecay(0.02, 30),
        momentum=0.8,
        l2=0.01,
        decay_norm_and_bias=False,
        lr_multipliers={"^head_": 10.0},
        nesterov=True,
    )
    copy = run_config_test(optimizer)
    for a, b in zip(run_ours(copy), run_ours(optimizer), strict=True):
        np.testing.assert_array_equal(a, b)


def test_config_of_former_names_is_read():
    optimizer = SGD(0.1, lr_multipliers={"^head_": 10.0})
    config = optimizer.get_config()
    config["rate_factors"] = config.pop("lr_multipliers")
    assert SGD.from_config(config).get_config() == optimizer.get_config()


def test_refuses_decoupled_decay():
    with pytest.raises(
        ValueError, match="`weight_decay` must be left to `l2`.*=0.0001"
    ):
        SGD(weight_decay=1e-4)


def test_refuses_negative_l2():
    with pytest.raises(ValueError, match="`l2` must be at least 0.*l2=-0.1"):
        SGD(l2=-0.1)


def test_nothing_is_computed_before_its_gradient_is_there():
    variable = keras.Variable(np.ones((3, 2), "float32"), name="kernel")
    optimizer = SGD(0.1)
    optimizer.build([variable])

    @tf.function
    def update(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(x * variable.value))
        gradient = tape.gradient(loss, variable.value)
        optimizer.apply([gradient], [variable])

    graph = update.get_concrete_function(tf.ones((3, 2))).graph
    products = [
        operation
        for operation in graph.get_operations()
        if operation.type == "Mul"
        and operation.name.startswith("sgd/")
        and operation.outputs[0].shape == (3, 2)
    ]
    # Of the weight, of the velocity, of the gradient.
    assert len(products) == 3
    for product in products:
        assert "Cos" in types_before(product)


def types_before(operation):
    """Types of all operations that must have run before this one."""
    seen, waiting = set(), [operation]
    while waiting:
        before = waiting.pop()
        if before not in seen:
            seen.add(before)
            waiting += [tensor.op for tensor in before.inputs]
            waiting += before.control_inputs
    return {before.type for before in seen}
