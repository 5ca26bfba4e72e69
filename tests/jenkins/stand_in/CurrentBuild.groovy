/** What a script sees as `currentBuild`. */
class CurrentBuild {
    private final Build build

    CurrentBuild(Build build) { this.build = build }

    String getResult() { build.result }
    void setResult(String value) { build.worsen(value) }
    String getCurrentResult() { build.currentResult }
    String getDescription() { build.description }
    void setDescription(String text) { build.description = text }

    /** Causes as plain data; of one class when it is named. */
    List<Map> getBuildCauses(String type = null) {
        return (build.scenario.causes as List<Map>).findAll { type == null || it['_class'] == type }
    }
}
