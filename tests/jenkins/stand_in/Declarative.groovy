/**
 * Runs a Declarative Pipeline in Jenkins' order. Around a pipeline: agent, options, environment, stages, `post`. Around
 * a stage: options, `when` with `beforeAgent`, agent, `when`, environment, then its steps, or stages of its own, and
 * `post`, still on that agent.
 */
class Declarative {
    private final JenkinsScript script
    private final Build build

    Declarative(JenkinsScript script) {
        this.script = script
        build = script.build
    }

    void run(Closure body) {
        Map<String, List> root = sections(body)
        build.plugins.add('pipeline-model-definition')
        parameters(root.parameters)
        declare('triggers', Offered.TRIGGERS, root.triggers)
        onAgent(root.agent) {
            declare('options', Offered.OPTIONS, root.options)
            build.declared.executors = build.agents.size()
            Exception first = attempt { environment(root) { stages(root.stages[0] as Closure) } }
            post(root.post, first)
        }
    }

    private Map<String, List> sections(Closure body) {
        return Collector.collect(script, body).collectEntries { entry -> [(entry[0]): entry[1]] }
    }

    /** Defaults where nothing was chosen; a choice must be one of the choices, as Jenkins insists. */
    private void parameters(List section) {
        if (!section) { return }
        Map chosen = build.scenario.params as Map
        List known = []
        Collector.collect(script, section[0] as Closure).each { entry ->
            Map given = Offered.named(Offered.PARAMETERS, 'parameter', entry[0] as String, entry[1] as List)
            def standard = entry[0] == 'choice' ? given.choices[0] : given.defaultValue
            def value = chosen.containsKey(given.name) ? chosen[given.name] : standard
            if (entry[0] == 'choice' && !given.choices.contains(value)) {
                throw new Unknown("${value} is no choice of ${given.name}")
            }
            build.params[given.name] = given.trim ? (value as String).trim() : value
            known.add([kind: entry[0]] + given)
        }
        Offered.require(known*.name, chosen.keySet(), 'the job')
        build.declared.parameters = known
    }

    private void declare(String what, Map<String, List> offered, List section) {
        if (!section) { return }
        build.declared[what] = Collector.collect(script, section[0] as Closure).collect { entry ->
            Map given = Offered.named(offered, what, entry[0] as String, plainArguments(entry[1] as List))
            if (entry[0] == 'timeout') { Timeout.require(given) }
            build.plugins.add(offered[entry[0]][0] as String)
            [name: entry[0]] + given
        }
    }

    /** Only `logRotator(...)` stands inside another option. */
    private static List plainArguments(List arguments) {
        return arguments.collect { argument ->
            if (argument instanceof Map && argument['\$'] == 'logRotator') {
                Offered.require(Offered.LOG_ROTATION, (argument.arguments[0] as Map).keySet(), 'logRotator')
                return (argument.arguments[0] as Map).toString()
            }
            return argument
        }
    }

    /** `agent none`, and a stage without one, run where the build is already, or nowhere. */
    private onAgent(List section, Closure body) {
        if (!section || section[0] == 'none') { return body() }
        String custom = null
        if (section[0] instanceof Closure) {
            List<List> said = Collector.collect(script, section[0] as Closure)
            if (said.size() == 1 && said[0][0] == 'node') { said = Collector.collect(script, said[0][1][0] as Closure) }
            Offered.require(['label', 'customWorkspace'], said.collect { it[0] }, 'agent')
            custom = said.find { it[0] == 'customWorkspace' }?.getAt(1)?.getAt(0)
        }
        build.plugins.add('workflow-durable-task-step')
        return build.onAgent(custom, body)
    }

    private void environment(Map<String, List> sections, Closure body) {
        Map values = sections.environment ? Variables.read(script, sections.environment[0] as Closure) : [:]
        // What the build declares holds for its end as well.
        build.overlays.add(values)
        body()
    }

    private void stages(Closure body) {
        Exception first = null
        Collector.collect(script, body).each { entry ->
            Map row = listed(entry)
            if (first) {
                skip(row, 'after a failure', entry[1][1] as Closure)
                return
            }
            String parent = build.stage
            build.stage = row.name
            build.say("[Pipeline] stage ${row.name}")
            Exception failed = attempt { runStage(row, entry[1][1] as Closure) }
            if (failed) { row.result = resultOf(failed) }
            build.stage = parent
            first = failed
        }
        if (first) { throw first }
    }

    private Map listed(List entry) {
        Map row = [name: entry[1][0], status: 'executed', result: 'SUCCESS',
                   isParent: sections(entry[1][1] as Closure).containsKey('stages')]
        build.stages.add(row)
        return row
    }

    /** A stage that is skipped takes those inside it along. */
    private void skip(Map row, String why, Closure body) {
        row.status = "skipped ${why}" as String
        build.say("Stage \"${row.name}\" skipped ${why}")
        Map<String, List> within = sections(body)
        if (within.stages) {
            Collector.collect(script, within.stages[0] as Closure).each { skip(listed(it), why, it[1][1] as Closure) }
        }
    }

    private void runStage(Map stage, Closure body) {
        Map<String, List> sections = sections(body)
        if (sections.options) {
            Collector.collect(script, sections.options[0] as Closure).each { entry ->
                Map given = Offered.named(Offered.OPTIONS, 'option', entry[0] as String, entry[1] as List)
                if (entry[0] == 'timeout') { Timeout.require(given) }
                stage.options = (stage.options ?: []) + entry[0]
            }
        }
        boolean isEarly = sections.when && isBeforeAgent(sections.when[0] as Closure)
        if (isEarly && !holds(sections.when)) {
            skip(stage, 'by when', body)
            return
        }
        onAgent(sections.agent) {
            if (!isEarly && !holds(sections.when)) { skip(stage, 'by when', body) } else { onItsAgent(sections) }
        }
    }

    private void onItsAgent(Map<String, List> sections) {
        int depth = build.overlays.size()
        Exception failed = null
        try {
            environment(sections) {
                failed = attempt {
                    if (sections.steps) { code(sections.steps[0]) } else { stages(sections.stages[0] as Closure) }
                }
                post(sections.post, failed)
            }
        } finally {
            while (build.overlays.size() > depth) { build.overlays.remove(build.overlays.size() - 1) }
        }
        if (failed) { throw failed }
    }

    private boolean holds(List when) { return !when || conditions(when[0] as Closure).every() }

    private boolean isBeforeAgent(Closure body) {
        return Collector.collect(script, body).any { it[0] == 'beforeAgent' && it[1][0] == true }
    }

    private List<Boolean> conditions(Closure body) {
        List<List> said = Collector.collect(script, body).findAll { !(it[0] as String).startsWith('before') }
        return said.collect { condition(it[0] as String, it[1] as List) }
    }

    private boolean condition(String name, List arguments) {
        switch (name) {
            case 'allOf': return conditions(arguments[0] as Closure).every()
            case 'anyOf': return conditions(arguments[0] as Closure).any()
            case 'not': return !conditions(arguments[0] as Closure).every()
            case 'expression': return code(arguments[0]) as boolean
            case 'environment': return build.environment()[arguments[0].name] == arguments[0].value
            default: throw new Unknown("when: '${name}' is not imitated here")
        }
    }

    private void post(List section, Exception failed) {
        if (failed) { build.worsen(resultOf(failed)) }
        if (!section) { return }
        List<List> given = Collector.collect(script, section[0] as Closure)
        Offered.POST.each { name ->
            List entry = given.find { it[0] == name }
            if (entry && applies(name)) {
                Exception also = attempt { code(entry[1][0]) }
                if (also) {
                    build.say("Error when executing ${name} post condition: ${also.message}")
                    build.worsen(resultOf(also))
                }
            }
        }
    }

    private boolean applies(String condition) {
        String now = build.currentResult, before = build.scenario.previous ?: 'SUCCESS'
        switch (condition) {
            case ['always', 'cleanup']: return true
            case 'changed': return now != before
            case 'fixed': return now == 'SUCCESS' && before in ['UNSTABLE', 'FAILURE']
            case 'regression': return Build.RESULTS.indexOf(now) > Build.RESULTS.indexOf(before) && now != 'NOT_BUILT'
            case 'unsuccessful': return now != 'SUCCESS'
            default: return now == condition.toUpperCase()
        }
    }

    /** A block of steps belongs to the script, not to the directive it was written in. */
    private code(Object body) { return (body as Closure).rehydrate(script, script, script).call() }

    private Exception attempt(Closure body) {
        try {
            body()
            return null
        } catch (Unknown unknown) {
            throw unknown
        } catch (StepFailed | Interrupted failed) {
            build.say("ERROR: ${failed.message}")
            build.worsen(resultOf(failed))
            return failed
        }
    }

    private static String resultOf(Exception failed) { failed instanceof Interrupted ? failed.result : 'FAILURE' }
}
