"""Words of our own on the fields that every object has; the type table has none.

Clients and suites look for the first words of some in what `kubectl explain` prints: those begin as Kubernetes' do.
"""

from __future__ import annotations

TEXTS = {
    "apiVersion": "APIVersion defines the schema, by group and version, that this representation of an object follows.",
    "kind": "Kind is the name of the schema that this object follows.",
    "metadata": "Standard object's metadata: name, labels, annotations and what the server keeps about the object.",
    "spec": "What is wanted.",
    "status": "What is there, as last observed; written by the system.",
}
OBJECT_META = {
    "annotations": "Annotations are free notes of people and programs, by name. Nothing is selected by them.",
    "creationTimestamp": "CreationTimestamp is a timestamp set by the server when it made the object (RFC 3339, UTC).",
    "deletionGracePeriodSeconds": "Seconds that the object may take to end once it is deleted; written by the server.",
    "deletionTimestamp": "DeletionTimestamp is the moment from which the object may be gone; set when it is deleted.",
    "finalizers": "Finalizers must all be taken away, each by who is responsible for it, before the object goes.",
    "generateName": "GenerateName is a prefix to which the server adds a unique end when no name is given.",
    "generation": "Generation counts the changes of what is wanted; written by the server.",
    "labels": "Labels are names and values by which objects are selected, as Services select their pods.",
    "managedFields": "ManagedFields says which manager set which fields, for server-side apply.",
    "name": "Name is unique among the objects of one kind in a namespace, and cannot change.",
    "namespace": "Namespace in which the name is unique; objects of the whole cluster have none.",
    "ownerReferences": "OwnerReferences are the objects this one belongs to; it is collected when they are all gone.",
    "resourceVersion": "ResourceVersion is an opaque mark of the object's state, for watches and safe updates.",
    "selfLink": "SelfLink is no longer written.",
    "uid": "UID is unique in time and space: an object made anew under the same name has another one.",
}
