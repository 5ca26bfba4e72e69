import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.ast.stmt.*
import org.codehaus.groovy.classgen.GeneratorContext
import org.codehaus.groovy.control.CompilePhase
import org.codehaus.groovy.control.SourceUnit
import org.codehaus.groovy.control.customizers.CompilationCustomizer

/** Refuses, before anything runs, what Jenkins' own parser would refuse, and what its sandbox and CPS make brittle. */
class Structure extends CompilationCustomizer {
    static final int SCRIPT_STATEMENTS = 6
    static final List<String> CPS_TRAPS = ['each', 'eachWithIndex', 'collect', 'collectEntries', 'find', 'findAll',
                                           'any', 'every', 'inject', 'sort', 'toSorted']
    private Set<String> functions = []

    Structure() { super(CompilePhase.CONVERSION) }

    void call(SourceUnit source, GeneratorContext context, ClassNode type) {
        functions = source.AST.methods*.name as Set
        if (source.AST.imports || source.AST.starImports || source.AST.staticImports) { refuse('an import') }
        List<String> inherited = Object.methods*.name
        functions.findAll { it in inherited }.each {
            refuse("function ${it}: every Groovy object has one of that name")
        }
        functions.findAll { Offered.STEPS.containsKey(it) }.each { refuse("function ${it}: a step has that name") }
        List<Statement> statements = source.AST.statementBlock.statements
        if (statements.size() != 1) { refuse('statements beside pipeline { }') }
        MethodCallExpression pipeline = directive(statements[0], 'the file')
        if (pipeline.methodAsString != 'pipeline') { refuse('no pipeline { }') }
        source.AST.statementBlock.visit(new Traps())
        source.AST.methods.each { method ->
            if (method.annotations) { refuse("an annotation on ${method.name}") }
            method.code.visit(new Traps())
        }
        Map<String, MethodCallExpression> root = section('pipeline', block(pipeline))
        Offered.NEEDED.each { if (!root.containsKey(it)) { refuse("no ${it} in pipeline") } }
        entries(root, 'options', Offered.OPTIONS.keySet())
        entries(root, 'triggers', Offered.TRIGGERS.keySet())
        entries(root, 'parameters', Offered.PARAMETERS.keySet())
        common(root)
        stages(root.stages)
    }

    private void stages(MethodCallExpression parent) {
        List<String> names = []
        block(parent).statements.each { statement ->
            MethodCallExpression stage = directive(statement, 'stages')
            String name = arguments(stage)[0].text
            if (stage.methodAsString != 'stage') { refuse("${stage.methodAsString} in stages") }
            if (name in names) { refuse("two stages called ${name}") }
            names.add(name)
            Map<String, MethodCallExpression> found = section('stage', block(stage))
            if (found.keySet().count { it in Offered.BODIES } != 1) {
                refuse("stage ${name}: exactly one of ${Offered.BODIES}")
            }
            entries(found, 'options', Offered.STAGE_OPTIONS as Set)
            common(found)
            if (found.steps) { steps(block(found.steps), "steps of ${name}") }
            if (found.stages) { stages(found.stages) }
        }
    }

    private void common(Map<String, MethodCallExpression> found) {
        if (found.environment) { environment(block(found.environment)) }
        if (found.when) { conditions(block(found.when)) }
        if (found.post) {
            block(found.post).statements.each { statement ->
                MethodCallExpression condition = directive(statement, 'post')
                if (!(condition.methodAsString in Offered.POST)) {
                    refuse("post condition ${condition.methodAsString}")
                }
                steps(block(condition), "post ${condition.methodAsString}")
            }
        }
    }

    private Map<String, MethodCallExpression> section(String kind, BlockStatement body) {
        Map<String, MethodCallExpression> found = [:]
        body.statements.each { statement ->
            MethodCallExpression part = directive(statement, kind)
            if (!(part.methodAsString in Offered.SECTIONS[kind])) {
                refuse("section ${part.methodAsString} in ${kind}")
            }
            if (found.put(part.methodAsString, part)) { refuse("${part.methodAsString} twice in ${kind}") }
        }
        return found
    }

    private void entries(Map<String, MethodCallExpression> found, String name, Set<String> allowed) {
        if (!found[name]) { return }
        block(found[name]).statements.each { statement ->
            String entry = directive(statement, name).methodAsString
            if (!(entry in allowed)) { refuse("${entry} in ${name}") }
        }
    }

    private void conditions(BlockStatement body) {
        body.statements.each { statement ->
            MethodCallExpression condition = directive(statement, 'when')
            String name = condition.methodAsString
            if (!(name in Offered.CONDITIONS)) { refuse("condition ${name} in when") }
            if (name in ['allOf', 'anyOf', 'not']) { conditions(block(condition)) }
        }
    }

    private void environment(BlockStatement body) {
        body.statements.each { statement ->
            def assignment = statement instanceof ExpressionStatement ? statement.expression : null
            if (!(assignment instanceof BinaryExpression) || assignment.operation.text != '=') {
                refuse('something else than NAME = value in environment')
            }
            def value = assignment.rightExpression
            boolean isString = value instanceof GStringExpression ||
                value instanceof ConstantExpression && value.value instanceof String
            if (!isString && !(value instanceof MethodCallExpression)) {
                refuse("${assignment.leftExpression.text}: a value is a string or a function call")
            }
        }
    }

    /** Where steps stand, nothing else may: no variable, no `if`, outside `script`. */
    private void steps(BlockStatement body, String where) {
        body.statements.each { statement ->
            MethodCallExpression step = directive(statement, where)
            String name = step.methodAsString
            if (name != 'script' && !(name in functions) && !Offered.STEPS.containsKey(name)) {
                refuse("step ${name} in ${where}")
            }
            List<Expression> given = arguments(step)
            if (name == 'script') {
                if (block(step).statements.size() > SCRIPT_STATEMENTS) {
                    refuse("${where}: a script block of more than ${SCRIPT_STATEMENTS} statements")
                }
            } else if (given && given.last() instanceof ClosureExpression) {
                steps(block(step), where)
            }
        }
    }

    static MethodCallExpression directive(Statement statement, String where) {
        if (statement instanceof ReturnStatement || statement instanceof ExpressionStatement) {
            if (statement.expression instanceof MethodCallExpression && statement.expression.implicitThis) {
                return statement.expression
            }
        }
        refuse("${statement.text} in ${where}, where only a name with arguments may stand")
    }

    static List<Expression> arguments(MethodCallExpression call) {
        return call.arguments instanceof TupleExpression ? call.arguments.expressions : []
    }

    static BlockStatement block(MethodCallExpression call) {
        List<Expression> given = arguments(call)
        if (!given || !(given.last() instanceof ClosureExpression)) { refuse("${call.methodAsString} without a block") }
        return given.last().code as BlockStatement
    }

    static void refuse(String what) { throw new Unknown("Jenkinsfile: ${what}") }

    /** What works in a test and not in Jenkins: the script is suspended to disk between any two steps. */
    static class Traps extends CodeVisitorSupport {
        void visitConstructorCallExpression(ConstructorCallExpression call) {
            refuse("new ${call.type.name}: scripts run in the sandbox")
        }

        void visitBinaryExpression(BinaryExpression expression) {
            if (expression.operation.text in ['=~', '==~']) {
                refuse("${expression.operation.text}: a Matcher cannot be suspended")
            }
            super.visitBinaryExpression(expression)
        }

        void visitMethodCallExpression(MethodCallExpression call) {
            List<Expression> given = arguments(call)
            boolean hasBlock = given && given.last() instanceof ClosureExpression
            if (!call.implicitThis && call.methodAsString in CPS_TRAPS && hasBlock) {
                refuse("${call.methodAsString} { }: write a for loop, which can be suspended")
            }
            super.visitMethodCallExpression(call)
        }
    }
}
