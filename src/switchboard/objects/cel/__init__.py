"""CEL, the expression language of validation rules and admission policies, with Kubernetes' environment.

Text is parsed by Google's own CEL parser (the package cel-expr-python); types, functions, costs and evaluation are
here, because Kubernetes types expressions by schemas, adds opaque types and bounds costs, which no binding carries.
Nothing in here is imported before the first expression is met. The way of an expression:

    syntax.parse -> check.check (types, with texts of cel-go) -> cost.estimate -> evaluate.compile -> Program

`schemas` makes types and values of structural schemas, `rules` runs the rules of custom kinds, `definitions` checks
them when a CustomResourceDefinition is written.
"""
