"""Who the proxy is, which workload it serves, who is at the other end, and which plugin asks."""

from proxy_wasm.properties import values
from proxy_wasm.properties.attribute import ANYWHERE, PEER, Attribute, Group


class Node(Group):
    """The proxy itself, as its bootstrap configuration describes it."""

    __slots__ = ()

    id = Attribute("id", values.text, ANYWHERE)
    """Its id."""
    cluster = Attribute("cluster", values.text, ANYWHERE)
    """The service cluster that it belongs to."""
    locality = Attribute("locality", values.locality, ANYWHERE)
    """Where it runs."""
    metadata = Attribute("", values.node_metadata, ANYWHERE)
    """Its metadata, by key."""
    user_agent_name = Attribute("user_agent_name", values.text, ANYWHERE)
    """`envoy`."""
    envoy_version = Attribute("user_agent_build_version", values.semantic_version, ANYWHERE)
    """Major, minor and patch version."""


class Workload(Group):
    """The workload that the proxy serves, as Istio describes it in the node's metadata."""

    __slots__ = ()

    name = Attribute("NAME", values.text, ANYWHERE)
    """The pod's name."""
    namespace = Attribute("NAMESPACE", values.text, ANYWHERE)
    """The pod's namespace."""
    workload_name = Attribute("WORKLOAD_NAME", values.text, ANYWHERE)
    """The workload's name, mostly that of the deployment."""
    owner = Attribute("OWNER", values.text, ANYWHERE)
    """The workload's URI, such as `kubernetes://apis/apps/v1/namespaces/shop/deployments/cart`."""
    labels = Attribute("LABELS", values.texts, ANYWHERE)
    """The pod's labels."""
    service_account = Attribute("SERVICE_ACCOUNT", values.text, ANYWHERE)
    """The pod's service account."""
    cluster_id = Attribute("CLUSTER_ID", values.text, ANYWHERE)
    """The Kubernetes cluster, as Istio names it."""
    mesh_id = Attribute("MESH_ID", values.text, ANYWHERE)
    """The mesh."""
    istio_version = Attribute("ISTIO_VERSION", values.text, ANYWHERE)
    """The version of Istio's proxy."""
    app_containers = Attribute("APP_CONTAINERS", values.text, ANYWHERE)
    """The names of the pod's containers, separated by commas."""
    instance_ips = Attribute("INSTANCE_IPS", values.text, ANYWHERE)
    """The pod's addresses, separated by commas."""
    platform_metadata = Attribute("PLATFORM_METADATA", values.texts, ANYWHERE)
    """What the cloud provider says of the machine."""


class Peer(Group):
    """The workload at the other end, as Istio's peer metadata filter found it out (from Istio 1.24 on)."""

    __slots__ = ()

    name = Attribute("name", values.text, PEER)
    """The pod's name."""
    namespace = Attribute("namespace", values.text, PEER)
    """Its namespace."""
    workload = Attribute("workload", values.text, PEER)
    """The workload's name."""
    type = Attribute("type", values.text, PEER)
    """`pod`, `deployment`, `job` or `cronjob`."""
    cluster = Attribute("cluster", values.text, PEER)
    """The Kubernetes cluster, as Istio names it."""
    service = Attribute("service", values.text, PEER)
    """The canonical service."""
    revision = Attribute("revision", values.text, PEER)
    """The canonical service's revision."""
    app = Attribute("app", values.text, PEER)
    """The label `app`."""
    version = Attribute("version", values.text, PEER)
    """The label `version`."""
    identity = Attribute("identity", values.text, PEER)
    """The SPIFFE identity, where Istio tells it."""
    labels = Attribute("labels", values.texts, PEER)
    """Further labels, where Istio is configured to pass them on."""


class Plugin(Group):
    """The plugin's own configuration."""

    __slots__ = ()

    name = Attribute("plugin_name", values.text, ANYWHERE)
    """Its name."""
    root_id = Attribute("plugin_root_id", values.text, ANYWHERE)
    """Its `root_id`."""
    vm_id = Attribute("plugin_vm_id", values.text, ANYWHERE)
    """The VM's `vm_id`."""
