"""Manifests: what tells a platform to run a plugin, made of `Deployment` by one module for each kind of platform; `targets` lists them."""

from proxy_wasm.deploy.manifests.deployment import Deployment, TargetReference, TrafficMatch, Workload
from proxy_wasm.deploy.manifests.targets import TARGETS, Target, manifest

__all__ = ["TARGETS", "Deployment", "Target", "TargetReference", "TrafficMatch", "Workload", "manifest"]
