/** The `environment` directive: each assignment, in order, seeing those before it. */
class Variables {
    private final Map<String, String> values = [:]
    private final Script script

    Variables(Script script) { this.script = script }

    static Map<String, String> read(Script script, Closure body) {
        Variables variables = new Variables(script)
        Closure copy = body.clone() as Closure
        copy.delegate = variables
        copy.resolveStrategy = Closure.DELEGATE_ONLY
        copy()
        return variables.@values
    }

    void setProperty(String name, Object value) {
        if (value instanceof Map && value['\$']) {
            Map names = [variable: name, usernameVariable: "${name}_USR" as String,
                         passwordVariable: "${name}_PSW" as String]
            List known = Offered.BINDINGS[value['\$']].intersect(names.keySet())
            values.putAll(script.steps.bind(value + names.subMap(known)))
            return
        }
        values[name] = value as String
    }

    def getProperty(String name) {
        return values.containsKey(name) ? values[name] : script.getProperty(name)
    }

    def credentials(String id) {
        Map found = (script.build.scenario.credentials as Map)[id] as Map
        if (found == null) { throw new StepFailed("Could not find credentials entry with ID '${id}'") }
        return ['\$': found.kind, credentialsId: id]
    }

    def methodMissing(String name, Object given) { return script.invokeMethod(name, given) }
}
