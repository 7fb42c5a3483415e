"""The messages of CRI v1 and of containerd's own services that we send and read, as one literal table.

A line is a message: `Name  field=number:type ...`; a type that is left out is `string`. The language of types and the
codec are those of `objects/wire.py`. Sources: k8s.io/cri-api/pkg/apis/runtime/v1/api.proto; containerd
api/services/events/v1/events.proto, api/events/task.proto, api/services/snapshots/v1/snapshots.proto,
api/services/tasks/v1/tasks.proto.
"""

from __future__ import annotations

from functools import cache

from switchboard.objects.wire import Codec

# ContainerState
CREATED, RUNNING, EXITED, UNKNOWN = range(4)
# PodSandboxState
SANDBOX_READY, SANDBOX_NOTREADY = range(2)
# NamespaceMode
NS_POD, NS_CONTAINER, NS_NODE, NS_TARGET = range(4)
# SecurityProfile.ProfileType
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)
# MountPropagation
PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}

_MESSAGES = """
VersionRequest            version=1
VersionResponse           version=1 runtime_name=2 runtime_version=3 runtime_api_version=4
StatusRequest             verbose=1:bool
StatusResponse            status=1:RuntimeStatus info=2:map<string,string>
RuntimeStatus             conditions=1:[]RuntimeCondition
RuntimeCondition          type=1 status=2:bool reason=3 message=4

PodSandboxMetadata        name=1 uid=2 namespace=3 attempt=4:uint32
DNSConfig                 servers=1:[]string searches=2:[]string options=3:[]string
NamespaceOption           network=1:enum pid=2:enum ipc=3:enum target_id=4
Int64Value                value=1:int64
UInt64Value               value=1:uint64
SELinuxOption             user=1 role=2 type=3 level=4
SecurityProfile           profile_type=1:enum localhost_ref=2
LinuxSandboxSecurityContext namespace_options=1:NamespaceOption selinux_options=2:SELinuxOption
 + run_as_user=3:Int64Value readonly_rootfs=4:bool supplemental_groups=5:[]int64 privileged=6:bool
 + run_as_group=8:Int64Value
 + seccomp=9:SecurityProfile apparmor=10:SecurityProfile supplemental_groups_policy=11:enum
LinuxPodSandboxConfig     cgroup_parent=1 security_context=2:LinuxSandboxSecurityContext sysctls=3:map<string,string>
 + overhead=4:LinuxContainerResources resources=5:LinuxContainerResources
PodSandboxConfig          metadata=1:PodSandboxMetadata hostname=2 log_directory=3 dns_config=4:DNSConfig
 + labels=6:map<string,string> annotations=7:map<string,string> linux=8:LinuxPodSandboxConfig
RunPodSandboxRequest      config=1:PodSandboxConfig runtime_handler=2
RunPodSandboxResponse     pod_sandbox_id=1
StopPodSandboxRequest     pod_sandbox_id=1
StopPodSandboxResponse
RemovePodSandboxRequest   pod_sandbox_id=1
RemovePodSandboxResponse
PodSandboxStatusRequest   pod_sandbox_id=1 verbose=2:bool
PodSandboxStatusResponse  status=1:PodSandboxStatus info=2:map<string,string>
PodIP                     ip=1
PodSandboxNetworkStatus   ip=1 additional_ips=2:[]PodIP
Namespace                 options=2:NamespaceOption
LinuxPodSandboxStatus     namespaces=1:Namespace
PodSandboxStatus          id=1 metadata=2:PodSandboxMetadata state=3:enum created_at=4:int64
 + network=5:PodSandboxNetworkStatus linux=6:LinuxPodSandboxStatus labels=7:map<string,string>
 + annotations=8:map<string,string> runtime_handler=9
ListPodSandboxRequest     filter=1:PodSandboxFilter
PodSandboxFilter          id=1 label_selector=3:map<string,string>
PodSandbox                id=1 metadata=2:PodSandboxMetadata state=3:enum created_at=4:int64 labels=5:map<string,string>
 + annotations=6:map<string,string> runtime_handler=7
ListPodSandboxResponse    items=1:[]PodSandbox

ImageSpec                 image=1 annotations=2:map<string,string>
KeyValue                  key=1 value=2
Mount                     container_path=1 host_path=2 readonly=3:bool selinux_relabel=4:bool propagation=5:enum
HugepageLimit             page_size=1 limit=2:uint64
LinuxContainerResources   cpu_period=1:int64 cpu_quota=2:int64 cpu_shares=3:int64 memory_limit_in_bytes=4:int64
 + oom_score_adj=5:int64 cpuset_cpus=6 cpuset_mems=7 hugepage_limits=8:[]HugepageLimit unified=9:map<string,string>
 + memory_swap_limit_in_bytes=10:int64
Capability                add_capabilities=1:[]string drop_capabilities=2:[]string add_ambient_capabilities=3:[]string
LinuxContainerSecurityContext capabilities=1:Capability privileged=2:bool namespace_options=3:NamespaceOption
 + selinux_options=4:SELinuxOption run_as_user=5:Int64Value run_as_username=6 readonly_rootfs=7:bool
 + supplemental_groups=8:[]int64 apparmor_profile=9 seccomp_profile_path=10 no_new_privs=11:bool
 + run_as_group=12:Int64Value masked_paths=13:[]string readonly_paths=14:[]string seccomp=15:SecurityProfile
 + apparmor=16:SecurityProfile supplemental_groups_policy=17:enum
LinuxContainerConfig      resources=1:LinuxContainerResources security_context=2:LinuxContainerSecurityContext
ContainerMetadata         name=1 attempt=2:uint32
Device                    container_path=1 host_path=2 permissions=3
ContainerConfig           metadata=1:ContainerMetadata image=2:ImageSpec command=3:[]string args=4:[]string
 + working_dir=5
 + envs=6:[]KeyValue mounts=7:[]Mount devices=8:[]Device labels=9:map<string,string> annotations=10:map<string,string>
 + log_path=11 stdin=12:bool stdin_once=13:bool tty=14:bool linux=15:LinuxContainerConfig
CreateContainerRequest    pod_sandbox_id=1 config=2:ContainerConfig sandbox_config=3:PodSandboxConfig
CreateContainerResponse   container_id=1
StartContainerRequest     container_id=1
StartContainerResponse
StopContainerRequest      container_id=1 timeout=2:int64
StopContainerResponse
RemoveContainerRequest    container_id=1
RemoveContainerResponse
ListContainersRequest     filter=1:ContainerFilter
ContainerFilter           id=1 pod_sandbox_id=3 label_selector=4:map<string,string>
Container                 id=1 pod_sandbox_id=2 metadata=3:ContainerMetadata image=4:ImageSpec image_ref=5 state=6:enum
 + created_at=7:int64 labels=8:map<string,string> annotations=9:map<string,string>
ListContainersResponse    containers=1:[]Container
ContainerStatusRequest    container_id=1 verbose=2:bool
ContainerStatusResponse   status=1:ContainerStatus info=2:map<string,string>
ContainerStatus           id=1 metadata=2:ContainerMetadata state=3:enum created_at=4:int64 started_at=5:int64
 + finished_at=6:int64 exit_code=7:int32 image=8:ImageSpec image_ref=9 reason=10 message=11 labels=12:map<string,string>
 + annotations=13:map<string,string> mounts=14:[]Mount log_path=15
UpdateContainerResourcesRequest container_id=1 linux=2:LinuxContainerResources
UpdateContainerResourcesResponse
ReopenContainerLogRequest container_id=1
ReopenContainerLogResponse
ExecSyncRequest           container_id=1 cmd=2:[]string timeout=3:int64
ExecSyncResponse          stdout=1:bytes stderr=2:bytes exit_code=3:int32
ExecRequest               container_id=1 cmd=2:[]string tty=3:bool stdin=4:bool stdout=5:bool stderr=6:bool
ExecResponse              url=1
AttachRequest             container_id=1 stdin=2:bool tty=3:bool stdout=4:bool stderr=5:bool
AttachResponse            url=1
PortForwardRequest        pod_sandbox_id=1 port=2:[]int32
PortForwardResponse       url=1

ListImagesRequest
ListImagesResponse        images=1:[]Image
Image                     id=1 repo_tags=2:[]string repo_digests=3:[]string size=4:uint64 uid=5:Int64Value username=6
ImageStatusRequest        image=1:ImageSpec verbose=2:bool
ImageStatusResponse       image=1:Image info=2:map<string,string>
AuthConfig                username=1 password=2 auth=3 server_address=4 identity_token=5 registry_token=6
PullImageRequest          image=1:ImageSpec auth=2:AuthConfig sandbox_config=3:PodSandboxConfig
PullImageResponse         image_ref=1
RemoveImageRequest        image=1:ImageSpec
RemoveImageResponse

ViewSnapshotRequest       snapshotter=1 key=2 parent=3 labels=4:map<string,string>
ViewSnapshotResponse      mounts=1:[]SnapshotMount
SnapshotMount             type=1 source=2 target=3 options=4:[]string
RemoveSnapshotRequest     snapshotter=1 key=2
KillRequest               container_id=1 exec_id=2 signal=3:uint32 all=4:bool
Empty

ListContainerStatsRequest
ListContainerStatsResponse stats=1:[]ContainerStats
ContainerStats            attributes=1:ContainerAttributes cpu=2:CpuUsage memory=3:MemoryUsage
 + writable_layer=4:FilesystemUsage
ContainerAttributes       id=1 metadata=2:ContainerMetadata labels=3:map<string,string>
CpuUsage                  timestamp=1:int64 usage_core_nano_seconds=2:UInt64Value usage_nano_cores=3:UInt64Value
MemoryUsage               timestamp=1:int64 working_set_bytes=2:UInt64Value available_bytes=3:UInt64Value
 + usage_bytes=4:UInt64Value rss_bytes=5:UInt64Value page_faults=6:UInt64Value major_page_faults=7:UInt64Value
FilesystemUsage           timestamp=1:int64 used_bytes=3:UInt64Value inodes_used=4:UInt64Value

SubscribeRequest          filters=1:[]string
Envelope                  timestamp=1:Timestamp namespace=2 topic=3 event=4:Any
Timestamp                 seconds=1:int64 nanos=2:int32
Any                       type_url=1 value=2:bytes
TaskExit                  container_id=1 id=2 pid=3:uint32 exit_status=4:uint32 exited_at=5:Timestamp
TaskOOM                   container_id=1

HealthCheckRequest        service=1
HealthCheckResponse       status=1:enum
"""


def _table() -> dict[str, dict[int, tuple[str, str]]]:
    table: dict[str, dict[int, tuple[str, str]]] = {}
    fields: dict[int, tuple[str, str]] = {}
    for line in _MESSAGES.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] != "+":
            fields = table.setdefault(words[0], {})
        for word in words[1:]:
            name, _, rest = word.partition("=")
            number, _, type_ = rest.partition(":")
            fields[int(number)] = (name, type_ or "string")
    return table


@cache
def codec() -> Codec:
    """The codec of all these messages; `bytes` fields are bytes."""
    return Codec(_table(), raw_bytes=True, packed=True)
