/** The Jenkinsfile uses something that does not exist: never a result of the build, always a failure of the test. */
class Unknown extends RuntimeException {
    Unknown(CharSequence message) { super(message.toString()) }
}
