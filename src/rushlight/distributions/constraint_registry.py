"""Transforms from the unconstrained space to a constraint: `biject_to` (one to one), `transform_to` (cheaper, for optimisation)."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import TYPE_CHECKING, Any

from ..vocabulary import Function
from . import constraints, transforms

if TYPE_CHECKING:
    from ..distributions.constraints import Constraint
    from ..distributions.transforms import Transform

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """Calls the factory that is registered for a constraint's class."""

    def __init__(self) -> None:
        self._registry: dict[type, Callable[[Any], Any]] = {}

    def register(self, constraint: Constraint | int | type[Any], factory: Function | None = None) -> Function:
        """Register ``factory(constraint) -> transform`` for a class (or an instance's class); a decorator without `factory`."""
        if factory is None:
            return lambda given: self.register(constraint, given)
        if isinstance(constraint, constraints.Constraint):
            constraint = type(constraint)
        if not isinstance(constraint, type) or not issubclass(constraint, constraints.Constraint):
            raise TypeError(f"Expected constraint to be either a Constraint subclass or instance, but got {constraint}")
        self._registry[constraint] = factory
        return factory

    def __call__(self, constraint: Constraint) -> Transform:
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to = ConstraintRegistry()
transform_to = ConstraintRegistry()


def _register(factory: Callable[[Any], Any], *kinds: Any, registries: tuple[ConstraintRegistry, ...] = (biject_to, transform_to)) -> None:
    for registry in registries:
        for kind in kinds:
            registry.register(kind, factory)


def _interval(constraint: Any) -> Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    if isinstance(low, Number) and low == 0 and isinstance(high, Number) and high == 1:
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform([transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)])


def _exp_then(bound: str, scale: int) -> Callable[[Any], Any]:
    return lambda constraint: transforms.ComposeTransform(
        [transforms.ExpTransform(), transforms.AffineTransform(getattr(constraint, bound), scale)])


_register(lambda constraint: transforms.identity_transform, constraints.real)
_register(lambda constraint: transforms.ExpTransform(), constraints.positive, constraints.nonnegative)
_register(_exp_then("lower_bound", 1), constraints.greater_than, constraints.greater_than_eq)
_register(_exp_then("upper_bound", -1), constraints.less_than)
_register(_interval, constraints.interval, constraints.half_open_interval)
_register(lambda constraint: transforms.StickBreakingTransform(), constraints.simplex, registries=(biject_to,))
_register(lambda constraint: transforms.SoftmaxTransform(), constraints.simplex, registries=(transform_to,))
_register(lambda constraint: transforms.LowerCholeskyTransform(), constraints.lower_cholesky, registries=(transform_to,))
_register(lambda constraint: transforms.PositiveDefiniteTransform(), constraints.positive_definite, constraints.positive_semidefinite,
          registries=(transform_to,))
_register(lambda constraint: transforms.CorrCholeskyTransform(), constraints.corr_cholesky)


def _register_composed(registry: ConstraintRegistry) -> None:
    """Constraints that are made of others."""
    registry.register(constraints.independent, lambda constraint: transforms.IndependentTransform(
        registry(constraint.base_constraint), constraint.reinterpreted_batch_ndims))
    registry.register(constraints.cat, lambda constraint: transforms.CatTransform(
        [registry(each) for each in constraint.cseq], constraint.dim, constraint.lengths))
    registry.register(constraints.stack, lambda constraint: transforms.StackTransform(
        [registry(each) for each in constraint.cseq], constraint.dim))


_register_composed(biject_to)
_register_composed(transform_to)
