/** One build's state, and what the test reads afterwards. */
class Build {
    /** From good to bad: a result only ever gets worse. */
    static final List<String> RESULTS = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'NOT_BUILT', 'ABORTED']

    final Map scenario
    final List<Map> stages = []
    final List<Map> steps = []
    final Set<String> plugins = new TreeSet<String>()
    final Map<String, Object> declared = [:]
    final StringBuilder console = new StringBuilder()
    final Map params = [:]
    final Map<String, String> assigned = [:]
    final List<Map<String, String>> overlays = []
    final Set<String> secrets = []
    final Deque<File> agents = new ArrayDeque<File>()
    final Deque<File> folders = new ArrayDeque<File>()
    String result
    String description
    String stage
    private int allocated = 0

    Build(Map scenario) {
        this.scenario = scenario
    }

    /** Run a block on an agent: the next of the scenario's, in its workspace or one that is named, below its folder. */
    def onAgent(String custom = null, Closure body) {
        List workspaces = scenario.workspaces as List
        File root = new File(workspaces[allocated++ % workspaces.size()] as String)
        if (custom) { root = new File("${root.path}-agent", custom) }
        root.mkdirs()
        agents.push(root)
        folders.push(root)
        say("Running on an agent in ${root.name}")
        try {
            return body()
        } finally {
            folders.pop()
            agents.pop()
        }
    }

    /** Where the executor that is held works. */
    File getWorkspace() {
        if (!agents) {
            throw new StepFailed('Required context class hudson.FilePath is missing. Perhaps you forgot to surround ' +
                                 'the step with a step that provides this, such as: node')
        }
        return agents.peek()
    }

    String getCurrentResult() { result ?: 'SUCCESS' }

    /** Make the build's result worse, never better. */
    void worsen(String other) {
        if (!RESULTS.contains(other)) {
            throw new Unknown("no result is called ${other}")
        }
        if (RESULTS.indexOf(other) > RESULTS.indexOf(currentResult) || result == null) {
            result = other
        }
    }

    /** What a process sees: the build's, the agent's where one is held, then what `env.X =` assigned, then what blocks put around it. */
    Map<String, String> environment() {
        Map<String, String> all = [:]
        all.putAll(scenario.variables as Map<String, String>)
        if (agents) { all.putAll((scenario.agent as Map<String, String>) + [WORKSPACE: workspace.path]) }
        all.putAll(params.collectEntries { name, value -> [(name): value as String] })
        all.putAll(assigned)
        overlays.each { all.putAll(it) }
        return all
    }

    /** Run a block with more variables. */
    def within(Map<String, String> variables, Closure body) {
        overlays.add(variables)
        try {
            return body()
        } finally {
            overlays.remove(overlays.size() - 1)
        }
    }

    void say(Object text) {
        String line = text as String
        secrets.each { if (it) { line = line.replace(it, '****') } }
        console.append(line).append('\n')
    }

    void record(String step, Map arguments) {
        steps.add([stage: stage, step: step, executors: agents.size(), workspace: agents.peek()?.path,
                   arguments: plain(arguments)])
    }

    static plain(Object value) {
        if (value instanceof Map) { return value.collectEntries { key, item -> [(key): plain(item)] } }
        if (value instanceof Collection) { return value.collect { plain(it) } }
        return value == null || value instanceof Number || value instanceof Boolean ? value : value as String
    }

    Map asMap(Throwable broken) {
        return [name: scenario.name, result: currentResult, description: description, stages: stages, steps: steps,
                plugins: plugins, declared: plain(declared), console: console.toString(),
                broken: broken == null ? null : broken.toString()]
    }
}
