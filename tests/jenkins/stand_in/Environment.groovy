/** What a script sees as `env`: reading an unknown name gives null, writing lasts until the end of the build. */
class Environment {
    private final Build build

    Environment(Build build) { this.build = build }

    def getProperty(String name) { build.environment()[name] }
    void setProperty(String name, Object value) { build.assigned[name] = value as String }
}
