import groovy.io.FileType
import groovy.json.JsonSlurper
import java.nio.file.FileSystems

/** Each step, imitated as far as a build's outcome depends on it; `sh` is not imitated, it runs. */
class Steps {
    private final Build build

    Steps(Build build) { this.build = build }

    def sh(Map given, Closure body) {
        Process process = start(given.script as String)
        def errors = Thread.start { process.errorStream.eachLine { line -> synchronized (build) { build.say(line) } } }
        String output = process.inputStream.text
        int status = process.waitFor()
        errors.join()
        if (output && !given.returnStdout) { build.say(output.trim()) }
        build.steps.last().status = status
        Map<String, String> seen = build.environment()
        build.steps.last().actor = seen.PROMOTION_ACTOR
        build.steps.last().secrets = seen.findAll { build.secrets.contains(it.value) }.keySet().sort()
        if (given.returnStatus) { return status }
        if (status != 0) { throw new StepFailed("script returned exit code ${status}") }
        return given.returnStdout ? output : null
    }

    private Process start(String script) {
        ProcessBuilder builder = new ProcessBuilder('/bin/sh', '-xe', '-c', script)
        builder.environment().clear()
        builder.environment().putAll(build.environment())
        builder.redirectInput(new File('/dev/null'))
        builder.directory(build.folders.peek())
        return builder.start()
    }

    def checkout(Map given, Closure body) {
        if (given.scm != 'scm') { throw new Unknown('checkout: only the scm of the job is known') }
        String repository = build.scenario.repository
        if (!repository) { return [GIT_COMMIT: build.scenario.commit] }
        if (!new File(build.workspace, '.git').exists()) {
            git(['clone', '--quiet', repository, build.workspace.path])
        }
        return [GIT_COMMIT: git(['-C', build.workspace.path, 'rev-parse', 'HEAD'])]
    }

    private static String git(List<String> words) {
        Process git = (['git'] + words).execute()
        String said = git.text
        if (git.waitFor() != 0) { throw new StepFailed("git ${words}: ${git.errorStream.text}") }
        return said.trim()
    }

    def node(Map given, Closure body) { return build.onAgent(body) }

    def echo(Map given, Closure body) { build.say(given.message) }

    def error(Map given, Closure body) { throw new StepFailed(given.message as String) }

    def unstable(Map given, Closure body) {
        build.say("WARNING: ${given.message}")
        build.worsen('UNSTABLE')
        mark('UNSTABLE')
    }

    private void mark(String result) {
        Map stage = build.stages.find { it.name == build.stage }
        if (stage && Build.RESULTS.indexOf(result) > Build.RESULTS.indexOf(stage.result)) { stage.result = result }
    }

    def dir(Map given, Closure body) {
        File folder = new File(build.folders.peek(), given.path as String)
        folder.mkdirs()
        build.folders.push(folder)
        try { return body() } finally { build.folders.pop() }
    }

    def deleteDir(Map given, Closure body) { build.folders.peek().deleteDir() }

    def withEnv(Map given, Closure body) {
        Map more = (given.overrides as List).collectEntries { entry ->
            List parts = (entry as String).split('=', 2) as List
            if (parts.size() != 2) { throw new StepFailed("withEnv: ${entry} is no NAME=value") }
            // PATH+ANYTHING goes before what PATH has.
            List names = parts[0].split('\\+', 2) as List
            [(names[0]): names.size() == 2 ? "${parts[1]}:${build.environment()[names[0]]}" as String : parts[1]]
        }
        return build.within(more, body)
    }

    def catchError(Map given, Closure body) {
        try {
            body()
        } catch (Unknown unknown) {
            throw unknown
        } catch (Exception caught) {
            boolean interrupted = caught instanceof Interrupted
            if (interrupted && given.catchInterruptions == false) { throw caught }
            build.say("ERROR: ${given.message ?: caught.message}")
            // As in CatchErrorStep: an interruption brings its own result, whatever was asked for.
            build.worsen(interrupted ? caught.result : given.buildResult ?: 'FAILURE')
            mark(interrupted ? caught.result : given.stageResult ?: 'SUCCESS')
        }
    }

    def warnError(Map given, Closure body) {
        return catchError([message: given.message, buildResult: 'UNSTABLE', stageResult: 'UNSTABLE',
                           catchInterruptions: given.catchInterruptions], body)
    }

    /** Durations are checked, not waited for. */
    def timeout(Map given, Closure body) {
        Timeout.require(given)
        return body()
    }

    def lock(Map given, Closure body) {
        build.say("Lock acquired on ${given.resource}")
        return body()
    }

    /** One branch after the other: all run, and the first failure comes out at the end. */
    def parallel(Map branches, Closure body) {
        Exception first = null
        branches.findAll { name, branch -> name != 'failFast' }.each { name, branch ->
            if (!(branch instanceof Closure)) { throw new Unknown("parallel: branch ${name} is no block") }
            try {
                branch()
            } catch (Unknown unknown) {
                throw unknown
            } catch (Exception failed) {
                first = first ?: failed
            }
        }
        if (first) { throw first }
    }

    /** Answered from the scenario, by the submitter that the step names. */
    def input(Map given, Closure body) {
        Map answer = (build.scenario.answers ?: [:])[given.submitter] as Map
        if (answer == null) { throw new Interrupted('ABORTED', "nobody answered: ${given.message}") }
        if (answer.abort) { throw new Interrupted('ABORTED', "Rejected by ${answer.by}") }
        Map values = [:]
        given.parameters.each { parameter ->
            Map asked = parameter.findAll { it.key != '\$' }
            Map known = Offered.named(Offered.PARAMETERS, 'input parameter', parameter['\$'], [asked])
            def value = answer.values[known.name]
            if (parameter['\$'] == 'choice' && !known.choices.contains(value)) {
                throw new Unknown("${value} is no choice of ${known.name}")
            }
            values[known.name] = value
        }
        if (given.submitterParameter) { values[given.submitterParameter] = answer.by }
        return values.size() == 1 ? values.values().first() : values
    }

    def withCredentials(Map given, Closure body) {
        Map variables = [:]
        given.bindings.each { binding -> variables.putAll(bind(binding)) }
        return build.within(variables, body)
    }

    Map<String, String> bind(Map binding) {
        String kind = binding['\$']
        Map known = Offered.named(Offered.BINDINGS, 'binding', kind, [binding.findAll { it.key != '\$' }])
        build.plugins.add(Offered.BINDINGS[kind][0])
        Map credential = credential(known.credentialsId as String, kind)
        if (kind == 'usernamePassword') {
            build.secrets.add(credential.password as String)
            return [(known.usernameVariable): credential.username as String,
                    (known.passwordVariable): credential.password as String]
        }
        build.secrets.add(credential.value as String)
        return [(known.variable): credential.value as String]
    }

    Map credential(String id, String kind) {
        Map found = (build.scenario.credentials as Map)[id] as Map
        if (found == null) { throw new StepFailed("Could not find credentials entry with ID '${id}'") }
        if (found.kind != kind) { throw new StepFailed("Credentials '${id}' is a ${found.kind}, expected a ${kind}") }
        return found
    }

    def withDockerRegistry(Map given, Closure body) {
        Map account = credential(given.credentialsId as String, 'usernamePassword')
        build.secrets.add(account.password as String)
        return build.within([DOCKER_CONFIG: "${build.workspace}@tmp/docker" as String], body)
    }

    def junit(Map given, Closure body) {
        List<File> files = matching(given.testResults as String)
        if (!files) {
            if (given.allowEmptyResults) { return [failCount: 0, totalCount: 0] }
            throw new StepFailed('No test report files were found. Configuration error?')
        }
        int total = 0, failed = 0
        files.each { file ->
            def suites = new XmlSlurper().parse(file)
            suites.depthFirst().findAll { it.name() == 'testcase' }.each { test ->
                total++
                if (test.children().any { it.name() in ['failure', 'error'] }) { failed++ }
            }
        }
        build.say("${total} tests, ${failed} failed")
        if (failed && !given.skipMarkingBuildUnstable) {
            build.worsen('UNSTABLE')
            mark('UNSTABLE')
        }
        return [failCount: failed, totalCount: total]
    }

    def archiveArtifacts(Map given, Closure body) {
        List<String> found = (given.artifacts as String).split(',').collectMany { pattern ->
            matching(pattern.trim()).collect { build.workspace.toPath().relativize(it.toPath()).toString() }
        }
        build.steps.last().files = found.sort()
        if (!found && !given.allowEmptyArchive) {
            throw new StepFailed('No artifacts found that match the file pattern')
        }
    }

    def publishHTML(Map given, Closure body) {
        Map target = given.target as Map
        Offered.require(Offered.HTML, target.keySet(), 'publishHTML target')
        boolean there = new File(build.workspace, "${target.reportDir}/${target.reportFiles}").isFile()
        build.steps.last().published = there
        if (!there && !target.allowMissing) {
            throw new StepFailed("HTML directory '${target.reportDir}' does not exist")
        }
    }

    def readJSON(Map given, Closure body) {
        if (!given.returnPojo) { throw new Unknown('readJSON gives JSONNull for null: ask for returnPojo') }
        try {
            return new JsonSlurper().parseText(given.text as String)
        } catch (Exception wrong) {
            throw new StepFailed("readJSON: ${wrong.message}")
        }
    }

    def mail(Map given, Closure body) {
        if (build.scenario.mailServerIsAway) { throw new StepFailed("Couldn't connect to host, port: localhost, 25") }
    }

    private List<File> matching(String pattern) {
        def matcher = FileSystems.default.getPathMatcher("glob:${build.workspace.path}/${pattern}")
        List<File> found = []
        build.workspace.eachFileRecurse(FileType.FILES) { if (matcher.matches(it.toPath())) { found.add(it) } }
        return found
    }
}
