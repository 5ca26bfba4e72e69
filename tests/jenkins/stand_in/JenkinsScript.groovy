/** Base of the compiled Jenkinsfile: knows `pipeline` and the steps, and nothing else. */
abstract class JenkinsScript extends Script {
    Build getBuild() { binding.getVariable('$build') as Build }
    Steps getSteps() { binding.getVariable('$steps') as Steps }

    void pipeline(Closure body) { new Declarative(this).run(body) }

    def script(Closure body) { return body() }

    def methodMissing(String name, Object given) {
        List arguments = given as List
        if (Offered.PARAMETERS.containsKey(name) || Offered.BINDINGS.containsKey(name)) {
            if (arguments.size() != 1 || !(arguments[0] instanceof Map)) {
                throw new Unknown("${name}: name its arguments")
            }
            return ['$': name] + arguments[0]
        }
        Closure body = arguments && arguments.last() instanceof Closure ? arguments.last() as Closure : null
        if (name == 'parallel') {
            build.record(name, [branches: (arguments[0] as Map).keySet() as List])
            return steps.parallel(arguments[0] as Map, null)
        }
        Map named = Offered.named(Offered.STEPS, 'step', name, arguments)
        if ((body != null) != Offered.BLOCKS.contains(name)) {
            throw new Unknown("step '${name}' ${body ? 'takes no block' : 'needs a block'}")
        }
        build.plugins.add(Offered.STEPS[name][0] as String)
        build.record(name, named)
        if (!Offered.ANYWHERE.contains(name)) { build.workspace }
        return steps."$name"(named, body)
    }

    /** A bare name is a variable of the environment, as in `"${MODEL}"`. */
    def propertyMissing(String name) {
        def value = build.environment()[name]
        if (value == null) { throw new Unknown("no variable is called ${name}") }
        return value
    }
}
