"""From a built module to proxies: manifests for the platforms that run them, and the agent that publishes modules to plain Envoys."""

from proxy_wasm.deploy.agent import Agent
from proxy_wasm.deploy.errors import DeployError, OptionError, Refused, ServingError, Unavailable
from proxy_wasm.deploy.trial import Trial, try_out

__all__ = ["Agent", "DeployError", "OptionError", "Refused", "ServingError", "Trial", "Unavailable", "try_out"]
