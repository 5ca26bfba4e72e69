/** Takes down what a directive's block says, one entry a line: its name and its arguments. */
class Collector {
    final List<List> entries = []
    private final Script script

    Collector(Script script) { this.script = script }

    static List<List> collect(Script script, Closure body) {
        Collector collector = new Collector(script)
        Closure copy = body.clone() as Closure
        copy.delegate = collector
        copy.resolveStrategy = Closure.DELEGATE_ONLY
        copy()
        return collector.entries
    }

    def methodMissing(String name, Object given) {
        // The one function that stands inside an option.
        if (name == 'logRotator') { return ['\$': name, arguments: given as List] }
        entries.add([name, given as List])
        return null
    }

    def propertyMissing(String name) {
        if (name in ['any', 'none']) { return name }
        return script.getProperty(name)
    }
}
