/** Jenkins' AbortException: a step failed, which is the build's failure and not the script's. */
class StepFailed extends RuntimeException {
    StepFailed(CharSequence message) { super(message.toString()) }
}
