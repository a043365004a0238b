"""torch.utils._pytree against PyTorch's."""

import dataclasses
import enum
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest
import torch as pt
import torch.utils._pytree as theirs

import rushlight as rl
import rushlight.utils._pytree as ours

Pair = namedtuple("Pair", "a b")
TREES = [1, None, [], (), {}, [1, (2, 3), None], {"x": [1, (2, 3)], "y": {}}, Pair(4, [5]), OrderedDict(p=1, q=(2,)), defaultdict(int, {"q": 2}),
         deque([1, 2], maxlen=3), {"z": [Pair(1, {"k": deque([[], 2])})], 3: OrderedDict()}]
BOTH = pytest.mark.parametrize("tree", TREES, ids=str)


def outcome(function, *args):
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001
        return type(error), str(error)


@BOTH
def test_apart_and_together(tree):
    results = []
    for m in (ours, theirs):
        leaves, spec = m.tree_flatten(tree)
        assert m.tree_unflatten(leaves, spec) == tree
        assert spec == m.tree_structure(tree) and hash(spec) == hash(m.tree_structure(tree))
        paths, _ = m.tree_flatten_with_path(tree)
        assert [m.key_get(tree, path) for path, _ in paths] == leaves
        results.append((leaves, str(spec), spec.num_leaves, spec.num_nodes, spec.num_children, spec.is_leaf(), m.treespec_pprint(spec),
                        [m.keystr(path) for path, _ in paths], m.tree_map(lambda x: (x, 1), tree),
                        m.tree_map_with_path(lambda path, x: (m.keystr(path), x), tree), list(m.tree_iter(tree)),
                        m.tree_leaves(tree, is_leaf=lambda t: isinstance(t, tuple)),
                        m.tree_map(lambda x, y: (x, y), tree, tree), m.tree_any(lambda x: x == 2, tree), m.tree_all(lambda x: x == 2, tree)))
    assert results[0] == results[1]


@pytest.mark.parametrize("tree", [t for t in TREES if "Pair" not in str(t) and 3 not in (t if isinstance(t, dict) else ())], ids=str)
def test_text(tree):
    text = ours.treespec_dumps(ours.tree_structure(tree))
    assert text == theirs.treespec_dumps(theirs.tree_structure(tree))
    assert ours.treespec_loads(text) == ours.tree_structure(tree)


def test_text_of_what_has_no_name():
    class Box:
        pass
    ours.register_pytree_node(Box, lambda box: ([], None), lambda values, context: Box())
    try:
        with pytest.raises(NotImplementedError, match="serialized_type_name"):
            ours.treespec_dumps(ours.tree_structure(Box()))
        with pytest.raises(ValueError, match="already registered"):
            ours.register_pytree_node(Box, None, None)
        with pytest.raises(ValueError, match="flatten_with_keys_fn"):
            ours.tree_leaves_with_path(Box())
    finally:
        ours._deregister_pytree_node(Box)
    with pytest.raises(ValueError, match="Unknown protocol"):
        ours.treespec_dumps(ours.tree_structure(1), protocol=7)


MISMATCHES = [([1, 2], [1]), ([1], (1,)), ({"a": 1}, {"b": 1}), (Pair(1, 2), [1, 2]), ({"a": 1}, OrderedDict(a=1)), ([[1]], [1]), (1, [1]),
              (deque([1], maxlen=2), deque([1]))]


@pytest.mark.parametrize("first, second", MISMATCHES, ids=str)
def test_mapping_over_different_structures(first, second):
    a, b = (outcome(lambda m=m: m.tree_map(lambda x, y: (x, y), first, second)) for m in (ours, theirs))
    assert (a[0] is b[0] if isinstance(b, tuple) and isinstance(b[0], type) else a == b), (a, b)


def test_broadcast():
    spec = ([1, 2], {"a": (3, 3)})
    for prefix in (1, (1, 2), ([1, 2], 3), (1, {"a": 2}), [1, 2], (1, {"b": 1}), (1, 2, 3)):
        assert ours._broadcast_to_and_flatten(prefix, ours.tree_structure(spec)) == \
            theirs._broadcast_to_and_flatten(prefix, theirs.tree_structure(spec))


def test_only():
    tree = {"a": 1, "b": [2.0, "c"]}
    for m in (ours, theirs):
        assert m.tree_map_only(float, lambda x: x + 1, tree) == {"a": 1, "b": [3.0, "c"]}
        assert m.tree_map_only((int, str), lambda x: x * 2, tree) == {"a": 2, "b": [2.0, "cc"]}
        assert m.tree_map_only(lambda x: x == 1, lambda x: 5, tree) == {"a": 5, "b": [2.0, "c"]}
        assert m.tree_all_only(int, lambda x: x == 1, tree) and not m.tree_any_only(str, lambda x: x == "d", tree)
        seen = []
        assert m.tree_map_only_(int, seen.append, tree) is tree and seen == [1]
        with pytest.raises(TypeError):
            m.tree_map_only(3, seen.append, tree)
    t = ours.tree_map_only(rl.Tensor, lambda x: x + 1, [rl.ones(2), 3])
    assert t[0].tolist() == [2, 2] and t[1] == 3


def test_registered_classes():
    @dataclasses.dataclass
    class Point:
        x: object
        y: object
        tag: str = ""

    results = []
    for m in (ours, theirs):
        m.register_dataclass(Point, field_names=["x", "y"], drop_field_names=["tag"])
        leaves, spec = m.tree_flatten([Point(1, (2, 3)), Point(None, 4)])
        results.append((leaves, [m.keystr(p) for p, _ in m.tree_flatten_with_path(Point(1, (2, 3)))[0]], m.tree_map(str, Point(1, (2, 3)))))
        with pytest.raises(ValueError):
            m.register_dataclass(int)
        m._deregister_pytree_node(Point)
    assert results[0] == results[1]

    class Flag:
        def __init__(self, value):
            self.value = value

        def __eq__(self, other):
            return self.value == other.value

        def __hash__(self):
            return hash(self.value)

    for m in (ours, theirs):
        m.register_constant(Flag)
        leaves, spec = m.tree_flatten((1, Flag(2)))
        assert leaves == [1] and m.tree_unflatten([5], spec) == (5, Flag(2)) and m.is_constant_class(Flag)
        assert spec != m.tree_structure((1, Flag(3)))


def test_from_torch_utils():
    assert rl.utils._pytree is ours and pt.utils._pytree is theirs
    missing = [name for name in theirs.__all__ if not hasattr(ours, name)]
    assert not missing


class Colour(enum.Enum):
    RED = 1


def test_enumerations_and_names_of_named_tuples_in_json():
    point = namedtuple("point", ["x", "y"])
    texts = []
    for module in (ours, theirs):
        spec = module.TreeSpec(dict, Colour.RED, [module.LeafSpec()])
        texts.append(module.treespec_dumps(spec))
        assert module.treespec_loads(texts[-1]) == spec
        module._register_namedtuple(point, serialized_type_name="tests.point")
        spec = module.tree_structure(point(1, [2]))
        texts.append(module.treespec_dumps(spec))
        assert module.treespec_loads(texts[-1]) == spec
    assert texts[:2] == texts[2:]
    with pytest.raises(TypeError):
        ours.treespec_loads(texts[0].replace("Colour", "namedtuple"))


class Two:
    def __init__(self, a, b):
        self.a, self.b = a, b


def test_structures_of_optree():
    pytest.importorskip("optree")
    import torch.utils._cxx_pytree as cxx_there

    import rushlight.utils._cxx_pytree as cxx
    ours.register_pytree_node(Two, lambda p: ([p.a, p.b], None), lambda values, _: Two(*values), serialized_type_name="tests.Two")
    theirs.register_pytree_node(Two, lambda p: ([p.a, p.b], None), lambda values, _: Two(*values), serialized_type_name="tests.Two")
    tree = {"b": [1, (2, None)], "a": Two(3, OrderedDict(c=4))}
    found = []
    for module in (cxx, cxx_there):
        leaves, spec = module.tree_flatten(tree)
        assert module.treespec_loads(module.treespec_dumps(spec)) == spec and not isinstance(spec, module.LeafSpec)
        again = module.tree_unflatten([each if each is None else each + 1 for each in leaves], spec)
        found.append([leaves, repr(spec).replace("'rushlight'", "'torch'"), again["b"], again["a"].b, module.treespec_dumps(spec), module.tree_map_only(int, str, [1, "a"]),
                      module.tree_all(bool, [1, 0]), module.tree_any_only(int, bool, [0, "a"]), repr(module.LeafSpec()), list(module.tree_iter(tree)),
                      module._broadcast_to_and_flatten(1, spec), repr(module.treespec_tuple([module.treespec_leaf()]))])
        with pytest.raises(NotImplementedError, match="KeyPaths are not yet supported"):
            module.tree_flatten_with_path(tree)
        with pytest.raises(TypeError):
            module.treespec_dumps("text")
    assert found[0] == found[1]
    assert all(hasattr(cxx, name) for name in ours.__all__)
