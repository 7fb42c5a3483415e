"""Why a Service does not answer: pure checks (evidence in, verdict out), said as HTTP warnings and as Events."""
