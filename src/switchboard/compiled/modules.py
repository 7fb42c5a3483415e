"""Which modules are compiled: those on the way of a request that its time is spent in.

What is not among them: what mypyc does not take or takes otherwise (`msgspec.Struct`, subclasses of built-in types);
classes that interpreted ones inherit from; packages, whose path would be that of the build; what is seldom run, as each
costs a second to compile.

Compiled functions call each other without the interpreter's limit of depth. `objects.schema`, the first to go down
into a client's document, keeps one of its own for those behind it; `objects.patch` lets nothing out that is deeper than
what is read.

What is compiled is held to its annotations: a value of another type than a variable's is a TypeError there. What comes
from a client is `Any` until somebody has looked.
"""

MODULES = """
api.admission.chain api.admission.namespaces
api.answers api.app api.asked api.authn api.authz api.bodies api.call api.claims api.conversion api.flowcontrol
api.identity api.kinds.table api.metadata api.metrics api.negotiate api.ownership api.paths api.query
api.rbac api.reading api.representing api.seats api.selection api.typed api.verbs api.watching api.writing
client.copies client.informer client.keysets client.sharing
objects.apply objects.fieldchanges objects.fieldmerge objects.fieldset objects.fieldtypes objects.kinds
objects.managed objects.memo objects.names objects.presence objects.resetfields objects.scalars
objects.schema objects.types objects.validate.core objects.validate.metadata
store.codec store.disk store.diskwork store.errors store.feed store.history store.packing store.record store.store
store.table store.telling
transport.chunks transport.head transport.messages transport.reader transport.server_connection
""".split()
