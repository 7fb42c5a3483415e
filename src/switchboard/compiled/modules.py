"""Which modules are compiled: those on the way of a request that its time is spent in.

What is not among them: what mypyc does not take or takes otherwise (`msgspec.Struct`, subclasses of built-in types);
classes that interpreted ones inherit from; packages, whose path would be that of the build; what is seldom run, as each
costs a second to compile. And `objects.schema` and `objects.patch`, the first to go down into a client's document:
compiled functions call each other without the interpreter's limit of depth, these keep it for those behind them.

What is compiled is held to its annotations: a value of another type than a variable's is a TypeError there. What comes
from a client is `Any` until somebody has looked.
"""

MODULES = """
api.admission.chain api.admission.namespaces
api.answers api.app api.authn api.authz api.bodies api.call api.conversion api.flowcontrol api.identity
api.kinds.table api.metadata api.metrics api.negotiate api.ownership api.paths api.query api.rbac api.reading
api.representing api.typed api.verbs api.writing
client.sharing
objects.apply objects.fieldchanges objects.fieldmerge objects.fieldset objects.fieldtypes objects.kinds
objects.managed objects.memo objects.names objects.presence objects.scalars
objects.types objects.validate.core objects.validate.metadata
store.disk store.diskwork store.errors store.feed store.history store.record store.store store.table store.telling
transport.chunks transport.head transport.messages transport.reader transport.server_connection
""".split()
