/*
 * Our stand-in for Jenkins, which cannot run in a test: executes Jenkinsfiles, one build for each scenario.
 *
 *     groovy -cp tests/jenkins/stand_in tests/jenkins/harness.groovy scenarios.json results.json
 *
 * README.md beside this file says what is imitated and what is not.
 */
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException

CompilerConfiguration configuration = new CompilerConfiguration()
configuration.scriptBaseClass = 'JenkinsScript'
configuration.addCompilationCustomizers(new Structure())
ClassLoader here = this.class.classLoader
Map<String, Object> compiled = [:].withDefault { path ->
    try {
        return new GroovyClassLoader(here, configuration).parseClass(new File(path).getText('UTF-8'), 'WorkflowScript')
    } catch (Unknown | MultipleCompilationErrorsException refused) {
        return refused
    }
}

List results = new JsonSlurper().parse(new File(args[0]), 'UTF-8').collect { scenario ->
    Build build = new Build(scenario)
    def jenkinsfile = compiled[scenario.jenkinsfile as String]
    Throwable broken = null
    if (jenkinsfile instanceof Throwable) {
        broken = jenkinsfile
    } else {
        Binding binding = new Binding()
        binding.setVariable('$build', build)
        binding.setVariable('$steps', new Steps(build))
        binding.setVariable('env', new Environment(build))
        binding.setVariable('params', build.params)
        binding.setVariable('currentBuild', new CurrentBuild(build))
        binding.setVariable('scm', 'scm')
        Script script = jenkinsfile.newInstance() as Script
        script.binding = binding
        try {
            script.run()
        } catch (Exception failed) {
            broken = failed
            StringWriter trace = new StringWriter()
            failed.printStackTrace(new PrintWriter(trace))
            List<String> lines = trace.toString().readLines()
            build.say(lines.findAll { it.contains('WorkflowScript') || !it.startsWith('\t') }.join('\n'))
        }
    }
    return build.asMap(broken)
}
new File(args[1]).setText(JsonOutput.toJson(results), 'UTF-8')
