"""Who decides in this server: the node authorizer first, RBAC second, as ``--authorization-mode=Node,RBAC``."""

from __future__ import annotations

from dataclasses import dataclass

from hawser.apiserver.authorization.base import Authorizer, Union
from hawser.apiserver.authorization.graph import Graph
from hawser.apiserver.authorization.node import NodeAuthorizer
from hawser.apiserver.authorization.policy import Policy
from hawser.apiserver.authorization.rbac import Rbac
from hawser.apiserver.authorization.roles import Role
from hawser.apiserver.strategies.base import Lookup
from hawser.store.base import Store


@dataclass(frozen=True, slots=True)
class Access:
    """policy: the committed RBAC objects. authorizer: whom to ask."""

    policy: Policy
    authorizer: Authorizer

    @classmethod
    def over(cls, store: Store, lookup: Lookup) -> Access:
        """Over the objects of a store; nothing is read yet."""
        policy = Policy(store)
        node = NodeAuthorizer(Graph(store, lookup), lookup, _node_rules)
        return cls(policy, Union((node, Rbac(policy))))


def _node_rules() -> Role:
    from hawser.apiserver.authorization import defaults

    return Role(defaults.node_rules())
