/** Jenkins' FlowInterruptedException: a person or a time-out ended a step; carries the result the build gets. */
class Interrupted extends RuntimeException {
    final String result

    Interrupted(String result, String message) {
        super(message)
        this.result = result
    }
}
