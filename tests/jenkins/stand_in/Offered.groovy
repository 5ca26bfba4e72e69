/**
 * What Jenkins core and the plugins named here offer to a Declarative Pipeline, as far as we may need it: anything else
 * in a Jenkinsfile is unknown, and fails. Of each: the plugin's id, and the parameters by name, the one first that
 * may be given without its name.
 */
class Offered {
    static final Map<String, List<String>> SECTIONS = [
        pipeline: ['agent', 'environment', 'libraries', 'options', 'parameters', 'post', 'stages', 'tools', 'triggers'],
        stage   : ['agent', 'environment', 'failFast', 'input', 'matrix', 'options', 'parallel', 'post', 'stages',
                   'steps', 'tools', 'when'],
    ]
    static final List<String> NEEDED = ['agent', 'stages']
    static final List<String> BODIES = ['steps', 'stages', 'parallel', 'matrix']

    /** In the order Jenkins works them off. */
    static final List<String> POST = ['always', 'changed', 'fixed', 'regression', 'aborted', 'failure', 'success',
                                      'unstable', 'unsuccessful', 'cleanup']

    static final List<String> CONDITIONS = ['allOf', 'anyOf', 'not', 'expression', 'environment', 'equals', 'branch',
                                            'tag', 'buildingTag', 'changeRequest', 'changelog', 'changeset',
                                            'triggeredBy', 'beforeAgent', 'beforeInput', 'beforeOptions']

    static final Map<String, List> OPTIONS = [
        disableConcurrentBuilds: ['workflow-job', 'abortPrevious'],
        disableRestartFromStage: ['pipeline-model-definition'],
        skipDefaultCheckout    : ['pipeline-model-definition', 'skip'],
        buildDiscarder         : ['workflow-job', 'strategy'],
        timeout                : ['workflow-basic-steps', 'time', 'unit', 'activity'],
        retry                  : ['workflow-basic-steps', 'count', 'conditions'],
        lock                   : ['lockable-resources', 'resource', 'label', 'quantity', 'variable',
                                  'inversePrecedence', 'extra'],
        skipStagesAfterUnstable: ['pipeline-model-definition'],
        preserveStashes        : ['pipeline-model-definition', 'buildCount'],
        timestamps             : ['timestamper'],
    ]
    static final List<String> STAGE_OPTIONS = ['skipDefaultCheckout', 'timeout', 'retry', 'lock', 'timestamps']

    static final Map<String, List> TRIGGERS = [
        githubPush: ['github'],
        pollSCM   : ['workflow-job', 'scmpoll_spec', 'ignorePostCommitHooks'],
        cron      : ['workflow-job', 'spec'],
        upstream  : ['workflow-job', 'upstreamProjects', 'threshold'],
    ]

    static final Map<String, List> PARAMETERS = [
        string      : ['workflow-job', 'name', 'defaultValue', 'description', 'trim'],
        text        : ['workflow-job', 'name', 'defaultValue', 'description', 'trim'],
        booleanParam: ['workflow-job', 'name', 'defaultValue', 'description'],
        choice      : ['workflow-job', 'name', 'choices', 'description'],
    ]

    static final Map<String, List> BINDINGS = [
        string          : ['plain-credentials', 'credentialsId', 'variable'],
        file            : ['plain-credentials', 'credentialsId', 'variable'],
        usernamePassword: ['credentials-binding', 'credentialsId', 'usernameVariable', 'passwordVariable'],
    ]

    static final List<String> LOG_ROTATION = ['daysToKeepStr', 'numToKeepStr', 'artifactDaysToKeepStr',
                                              'artifactNumToKeepStr']

    static final Map<String, List> STEPS = [
        sh                : ['workflow-durable-task-step', 'script', 'returnStatus', 'returnStdout', 'label',
                             'encoding'],
        checkout          : ['workflow-scm-step', 'scm', 'changelog', 'poll'],
        echo              : ['workflow-basic-steps', 'message'],
        error             : ['workflow-basic-steps', 'message'],
        unstable          : ['workflow-basic-steps', 'message'],
        dir               : ['workflow-basic-steps', 'path'],
        deleteDir         : ['workflow-basic-steps'],
        node              : ['workflow-durable-task-step', 'label'],
        withEnv           : ['workflow-basic-steps', 'overrides'],
        catchError        : ['workflow-basic-steps', 'message', 'buildResult', 'stageResult', 'catchInterruptions'],
        warnError         : ['workflow-basic-steps', 'message', 'catchInterruptions'],
        timeout           : ['workflow-basic-steps', 'time', 'unit', 'activity'],
        mail              : ['workflow-basic-steps', 'subject', 'body', 'to', 'from', 'cc', 'bcc', 'replyTo',
                             'charset', 'mimeType'],
        archiveArtifacts  : ['workflow-basic-steps', 'artifacts', 'allowEmptyArchive', 'fingerprint',
                             'onlyIfSuccessful', 'excludes', 'caseSensitive', 'defaultExcludes', 'followSymlinks'],
        parallel          : ['workflow-cps'],
        lock              : ['lockable-resources', 'resource', 'label', 'quantity', 'variable', 'inversePrecedence',
                             'extra'],
        input             : ['pipeline-input-step', 'message', 'id', 'ok', 'cancel', 'submitter',
                             'submitterParameter', 'parameters'],
        withCredentials   : ['credentials-binding', 'bindings'],
        junit             : ['junit', 'testResults', 'allowEmptyResults', 'healthScaleFactor', 'keepLongStdio',
                             'skipMarkingBuildUnstable', 'skipPublishingChecks', 'skipOldReports'],
        publishHTML       : ['htmlpublisher', 'target'],
        readJSON          : ['pipeline-utility-steps', 'text', 'file', 'returnPojo'],
        withDockerRegistry: ['docker-workflow', 'url', 'credentialsId', 'toolName'],
    ]
    static final List<String> HTML = ['reportName', 'reportDir', 'reportFiles', 'reportTitles', 'keepAll',
                                      'allowMissing', 'alwaysLinkToLastBuild', 'includes', 'escapeUnderscores']
    /** Only these steps take a block. */
    static final List<String> BLOCKS = ['dir', 'withEnv', 'catchError', 'warnError', 'timeout', 'lock', 'node',
                                        'withCredentials', 'withDockerRegistry']
    /** These work without an agent; a credential that is a file does not. */
    static final List<String> ANYWHERE = ['node', 'echo', 'error', 'unstable', 'withEnv', 'catchError', 'warnError',
                                          'timeout', 'lock', 'parallel', 'input', 'mail', 'readJSON']

    /** Give arguments their names, and refuse those that do not exist. */
    static Map named(Map<String, List> offered, String what, String name, List arguments) {
        if (!offered.containsKey(name)) {
            throw new Unknown("${what} '${name}' is offered by nothing we know of")
        }
        List<String> known = offered[name].drop(1)
        Map given = [:]
        List rest = arguments.findAll { !(it instanceof Closure) }
        if (rest && rest[0] instanceof Map && !(rest[0].containsKey('\$'))) {
            given.putAll(rest[0])
            rest = rest.drop(1)
        }
        if (rest.size() > 1 || (rest && !known)) {
            throw new Unknown("${what} '${name}' takes ${known ? 'one unnamed argument' : 'no argument'}, not ${rest}")
        }
        if (rest) {
            given[known[0]] = rest[0]
        }
        require(known, given.keySet(), "${what} '${name}'")
        return given
    }

    static void require(Collection<String> known, Collection given, String where) {
        List strange = given.collect { it as String } - known
        if (strange) {
            throw new Unknown("${where} has no ${strange.join(', ')}; it knows ${known.join(', ')}")
        }
    }
}
