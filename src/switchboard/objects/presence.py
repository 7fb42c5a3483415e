"""What the schemas do not say: which optional scalars are pointers in the Go types, and which empties are always
written.

A Go pointer keeps an explicit zero (`replicas: 0`), a plain `omitempty` field loses it (`minReadySeconds: 0`); a
field without
`omitempty` is written even when empty. Facts from the types.go files of k8s.io/api and k8s.io/apimachinery 1.36;
keys are the
last three parts of a definition name.
"""

from __future__ import annotations

# Optional scalars that are pointers.
_POINTERS = """
admissionregistration.v1.MatchResources matchPolicy
admissionregistration.v1.MutatingAdmissionPolicySpec failurePolicy
admissionregistration.v1.MutatingWebhook failurePolicy matchPolicy reinvocationPolicy timeoutSeconds sideEffects
admissionregistration.v1.NamedRuleWithOperations scope
admissionregistration.v1.ParamRef parameterNotFoundAction
admissionregistration.v1.RuleWithOperations scope
admissionregistration.v1.ServiceReference path port
admissionregistration.v1.ValidatingAdmissionPolicySpec failurePolicy
admissionregistration.v1.ValidatingWebhook failurePolicy matchPolicy timeoutSeconds sideEffects
admissionregistration.v1.Validation reason
admissionregistration.v1.WebhookClientConfig url
apps.v1.DaemonSetSpec revisionHistoryLimit
apps.v1.DaemonSetStatus collisionCount
apps.v1.DeploymentSpec progressDeadlineSeconds replicas revisionHistoryLimit
apps.v1.DeploymentStatus collisionCount terminatingReplicas
apps.v1.ReplicaSetSpec replicas
apps.v1.ReplicaSetStatus terminatingReplicas
apps.v1.RollingUpdateStatefulSetStrategy partition
apps.v1.StatefulSetSpec replicas revisionHistoryLimit
apps.v1.StatefulSetStatus collisionCount
authentication.v1.TokenRequestSpec expirationSeconds
autoscaling.v1.HorizontalPodAutoscalerSpec minReplicas targetCPUUtilizationPercentage
autoscaling.v1.HorizontalPodAutoscalerStatus currentCPUUtilizationPercentage observedGeneration
autoscaling.v2.HPAScalingRules selectPolicy stabilizationWindowSeconds
autoscaling.v2.HorizontalPodAutoscalerSpec minReplicas
autoscaling.v2.HorizontalPodAutoscalerStatus observedGeneration
autoscaling.v2.MetricTarget averageUtilization
autoscaling.v2.MetricValueStatus averageUtilization
batch.v1.CronJobSpec failedJobsHistoryLimit startingDeadlineSeconds successfulJobsHistoryLimit suspend timeZone
batch.v1.JobSpec activeDeadlineSeconds backoffLimit backoffLimitPerIndex completionMode completions managedBy
batch.v1.JobSpec manualSelector maxFailedIndexes parallelism podReplacementPolicy suspend ttlSecondsAfterFinished
batch.v1.JobStatus failedIndexes ready terminating
batch.v1.PodFailurePolicyOnExitCodesRequirement containerName
batch.v1.SuccessPolicyRule succeededCount succeededIndexes
certificates.v1.CertificateSigningRequestSpec expirationSeconds
coordination.v1.LeaseSpec holderIdentity leaseDurationSeconds leaseTransitions preferredHolder strategy
core.v1.AppArmorProfile localhostProfile
core.v1.AzureDiskVolumeSource cachingMode fsType kind readOnly
core.v1.AzureFilePersistentVolumeSource secretNamespace
core.v1.CSIVolumeSource fsType readOnly
core.v1.ClientIPConfig timeoutSeconds
core.v1.ClusterTrustBundleProjection name optional signerName
core.v1.ConfigMap immutable
core.v1.ConfigMapEnvSource optional
core.v1.ConfigMapKeySelector optional
core.v1.ConfigMapProjection optional
core.v1.ConfigMapVolumeSource defaultMode optional
core.v1.Container restartPolicy
core.v1.ContainerStatus started stopSignal
core.v1.DownwardAPIVolumeFile mode
core.v1.DownwardAPIVolumeSource defaultMode
core.v1.EndpointAddress nodeName
core.v1.EndpointPort appProtocol
core.v1.EphemeralContainer restartPolicy
core.v1.FCVolumeSource lun
core.v1.FileKeySelector optional
core.v1.GRPCAction service
core.v1.GlusterfsPersistentVolumeSource endpointsNamespace
core.v1.HostPathVolumeSource type
core.v1.ISCSIPersistentVolumeSource initiatorName
core.v1.ISCSIVolumeSource initiatorName
core.v1.KeyToPath mode
core.v1.Lifecycle stopSignal
core.v1.LoadBalancerIngress ipMode
core.v1.LocalVolumeSource fsType
core.v1.NodeFeatures supplementalGroupsPolicy
core.v1.NodeRuntimeHandlerFeatures recursiveReadOnlyMounts userNamespaces
core.v1.NodeSwapStatus capacity
core.v1.PersistentVolumeClaimSpec storageClassName volumeAttributesClassName volumeMode
core.v1.PersistentVolumeClaimStatus currentVolumeAttributesClassName
core.v1.PersistentVolumeSpec volumeAttributesClassName volumeMode
core.v1.PodCertificateProjection maxExpirationSeconds
core.v1.PodDNSConfigOption value
core.v1.PodResourceClaim resourceClaimName resourceClaimTemplateName
core.v1.PodResourceClaimStatus resourceClaimName
core.v1.PodSchedulingGroup podGroupName
core.v1.PodSecurityContext fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy
core.v1.PodSecurityContext supplementalGroupsPolicy
core.v1.PodSpec activeDeadlineSeconds automountServiceAccountToken enableServiceLinks hostUsers hostnameOverride
core.v1.PodSpec preemptionPolicy priority runtimeClassName setHostnameAsFQDN shareProcessNamespace
core.v1.PodSpec terminationGracePeriodSeconds
core.v1.PortStatus error
core.v1.Probe terminationGracePeriodSeconds
core.v1.ProjectedVolumeSource defaultMode
core.v1.ReplicationControllerSpec replicas
core.v1.ResourceHealth message
core.v1.SeccompProfile localhostProfile
core.v1.Secret immutable
core.v1.SecretEnvSource optional
core.v1.SecretKeySelector optional
core.v1.SecretProjection optional
core.v1.SecretVolumeSource defaultMode optional
core.v1.SecurityContext allowPrivilegeEscalation privileged procMount readOnlyRootFilesystem runAsGroup runAsNonRoot
core.v1.SecurityContext runAsUser
core.v1.ServiceAccount automountServiceAccountToken
core.v1.ServiceAccountTokenProjection expirationSeconds
core.v1.ServicePort appProtocol
core.v1.ServiceSpec allocateLoadBalancerNodePorts internalTrafficPolicy ipFamilyPolicy loadBalancerClass
core.v1.ServiceSpec trafficDistribution
core.v1.Toleration tolerationSeconds
core.v1.TopologySpreadConstraint minDomains nodeAffinityPolicy nodeTaintsPolicy
core.v1.TypedLocalObjectReference apiGroup
core.v1.TypedObjectReference apiGroup namespace
core.v1.VolumeMount mountPropagation recursiveReadOnly
core.v1.VolumeMountStatus recursiveReadOnly
core.v1.WindowsSecurityContextOptions gmsaCredentialSpec gmsaCredentialSpecName hostProcess runAsUserName
discovery.v1.Endpoint hostname nodeName zone
discovery.v1.EndpointConditions ready serving terminating
discovery.v1.EndpointPort appProtocol name port protocol
flowcontrol.v1.ExemptPriorityLevelConfiguration lendablePercent nominalConcurrencyShares
flowcontrol.v1.LimitedPriorityLevelConfiguration borrowingLimitPercent lendablePercent nominalConcurrencyShares
networking.v1.HTTPIngressPath pathType
networking.v1.IngressClassParametersReference apiGroup namespace scope
networking.v1.IngressPortStatus error
networking.v1.IngressSpec ingressClassName
networking.v1.NetworkPolicyPort endPort protocol
policy.v1.PodDisruptionBudgetSpec unhealthyPodEvictionPolicy
resource.v1.AllocatedDeviceStatus shareID
resource.v1.Device allNodes allowMultipleAllocations bindsToNode nodeName
resource.v1.DeviceAttribute bool int string version
resource.v1.DeviceClassSpec extendedResourceName
resource.v1.DeviceConstraint distinctAttribute matchAttribute
resource.v1.DeviceRequestAllocationResult adminAccess shareID
resource.v1.DeviceToleration tolerationSeconds
resource.v1.ExactDeviceRequest adminAccess
resource.v1.NodeAllocatableResourceMapping capacityKey
resource.v1.ResourceSliceSpec allNodes nodeName perDeviceNodeSelection
scheduling.v1.PriorityClass preemptionPolicy
storage.v1.CSIDriverSpec attachRequired fsGroupPolicy nodeAllocatableUpdatePeriodSeconds podInfoOnMount
storage.v1.CSIDriverSpec preventPodSchedulingIfMissing requiresRepublish seLinuxMount serviceAccountTokenInSecrets
storage.v1.CSIDriverSpec storageCapacity
storage.v1.StorageClass allowVolumeExpansion reclaimPolicy volumeBindingMode
storage.v1.TokenRequest expirationSeconds
storage.v1.VolumeAttachmentSource persistentVolumeName
storage.v1.VolumeError errorCode
storage.v1.VolumeNodeResources count
apiextensions.v1.CustomResourceDefinitionVersion deprecationWarning
apiextensions.v1.CustomResourceSubresourceScale labelSelectorPath
apiextensions.v1.JSONSchemaProps $ref maxItems maxLength maxProperties minItems minLength minProperties
apiextensions.v1.JSONSchemaProps x-kubernetes-list-type x-kubernetes-map-type x-kubernetes-preserve-unknown-fields
apiextensions.v1.ServiceReference path port
apiextensions.v1.ValidationRule optionalOldSelf reason
apiextensions.v1.WebhookClientConfig url
meta.v1.DeleteOptions gracePeriodSeconds ignoreStoreReadErrorWithClusterBreakingPotential orphanDependents
meta.v1.DeleteOptions propagationPolicy
meta.v1.ListMeta remainingItemCount
meta.v1.ObjectMeta deletionGracePeriodSeconds
meta.v1.OwnerReference blockOwnerDeletion controller
meta.v1.Preconditions resourceVersion uid
apiregistration.v1.ServiceReference port
"""

# Optional in the schema, written even when empty.
_ALWAYS = """
apps.v1.StatefulSetOrdinals start
apps.v1.StatefulSetSpec serviceName
apps.v1.StatefulSetStatus availableReplicas replicas
authentication.v1.TokenRequestStatus token
core.v1.Event reportingComponent reportingInstance
core.v1.ResourceFieldSelector divisor
core.v1.NodeRuntimeHandler name
core.v1.ServicePort targetPort
discovery.v1.EndpointSlice endpoints ports
networking.v1.NetworkPolicySpec podSelector
policy.v1.PodDisruptionBudgetStatus currentHealthy desiredHealthy disruptionsAllowed expectedPods
rbac.v1.ClusterRole rules
rbac.v1.Role rules
rbac.v1.RoleRef apiGroup
scheduling.v1.PriorityClass value
"""

# Written as null when unset: times that are structs in Go, lists and pointers without omitempty.
_NULLS = """
apiextensions.v1.CustomResourceDefinitionCondition lastTransitionTime
apiregistration.v1.APIServiceCondition lastTransitionTime
apps.v1.DaemonSetCondition lastTransitionTime
apps.v1.DeploymentCondition lastTransitionTime lastUpdateTime
apps.v1.ReplicaSetCondition lastTransitionTime
apps.v1.StatefulSetCondition lastTransitionTime
authentication.v1.TokenRequestStatus expirationTimestamp
autoscaling.v2.HorizontalPodAutoscalerCondition lastTransitionTime
autoscaling.v2.HorizontalPodAutoscalerStatus currentMetrics
batch.v1.JobCondition lastProbeTime lastTransitionTime
certificates.v1.CertificateSigningRequestCondition lastTransitionTime lastUpdateTime
core.v1.AzureFilePersistentVolumeSource secretNamespace
core.v1.ContainerImage names
core.v1.ContainerStateRunning startedAt
core.v1.ContainerStateTerminated finishedAt startedAt
core.v1.Event eventTime firstTimestamp lastTimestamp
core.v1.EventSeries lastObservedTime
core.v1.NamespaceCondition lastTransitionTime
core.v1.NodeCondition lastHeartbeatTime lastTransitionTime
core.v1.PersistentVolumeClaimCondition lastProbeTime lastTransitionTime
core.v1.PodCondition lastProbeTime lastTransitionTime
core.v1.ProjectedVolumeSource sources
core.v1.ReplicationControllerCondition lastTransitionTime
core.v1.TypedLocalObjectReference apiGroup
core.v1.TypedObjectReference apiGroup
events.v1.Event eventTime deprecatedFirstTimestamp deprecatedLastTimestamp
events.v1.EventSeries lastObservedTime
flowcontrol.v1.FlowSchemaCondition lastTransitionTime
flowcontrol.v1.PriorityLevelConfigurationCondition lastTransitionTime
flowcontrol.v1.ResourcePolicyRule namespaces
meta.v1.Condition lastTransitionTime
resource.v1.AllocatedDeviceStatus conditions
resource.v1.CapacityRequestPolicy default
resource.v1.DeviceClaim requests
storage.v1.CSINodeDriver topologyKeys
storage.v1.VolumeError time
"""


def _read(text: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in text.split("\n"):
        name, *fields = line.split()[:1] + line.split()[1:] or [""]
        if name:
            found[name] = found.get(name, frozenset()) | frozenset(fields)
    return found


POINTERS = _read(_POINTERS)
ALWAYS = _read(_ALWAYS)
NULLS = _read(_NULLS)


def short(definition: str) -> str:
    """`io.k8s.api.core.v1.Pod` -> `core.v1.Pod`, the key of the tables here."""
    return ".".join(definition.split(".")[-3:])
