import java.util.concurrent.TimeUnit

/** What a time-out must say; nothing is waited for. */
class Timeout {
    static void require(Map given) {
        if (!(given.time instanceof Integer) || given.time <= 0) { throw new Unknown("timeout: time is ${given.time}") }
        if (given.unit) { TimeUnit.valueOf(given.unit as String) }
    }
}
