import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.client.builder.AwsClientBuilder;
import software.amazon.awssdk.regions.Region;

/** Runs scenarios one after the other and prints what became of each as JSON: "" or the error that it ended in. */
final class Scenarios {
    interface Scenario {
        void run() throws Exception;
    }

    private final String endpoint;
    private final List<String> outcomes = new ArrayList<>();

    Scenarios(String endpoint) {
        this.endpoint = endpoint;
    }

    void run(Map<String, Scenario> scenarios) {
        scenarios.forEach((name, scenario) -> {
            String outcome = "";
            try {
                scenario.run();
            } catch (Exception | AssertionError error) {
                StackTraceElement[] trace = error.getStackTrace();
                outcome = error + (trace.length > 0 ? " at " + List.of(trace).subList(0, Math.min(8, trace.length)) : "");
            }
            outcomes.add(quoted(name) + ": " + quoted(outcome));
        });
        System.out.println("{" + String.join(", ", outcomes) + "}");
    }

    <B extends AwsClientBuilder<B, ?>> B pointed(B builder) {
        return builder.endpointOverride(URI.create(endpoint))
                .region(Region.US_EAST_1)
                .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test")));
    }

    /** Moves service time on by so many seconds. */
    void advance(int seconds) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(endpoint + "/_trunkline/clock/advance"))
                .POST(HttpRequest.BodyPublishers.ofString("{\"seconds\": " + seconds + "}"))
                .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        check(answer.statusCode() == 200, answer.body());
    }

    static void check(boolean holds, Object otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static void same(Object expected, Object found) {
        check(expected.equals(found), "expected " + expected + ", found " + found);
    }

    /** The call's error, which is to be of this type. */
    static <E extends Exception> E fails(Class<E> type, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (Exception error) {
            check(type.isInstance(error), "expected " + type + ", found " + error);
            return type.cast(error);
        }
        throw new AssertionError("expected " + type + ", and nothing failed");
    }

    private static String quoted(String text) {
        return text.codePoints()
                .mapToObj(c -> c < 0x20 || c > 0x7e || c == '"' || c == '\\'
                        ? new String(Character.toChars(c)).chars()
                                .mapToObj(unit -> String.format("\\u%04x", unit))
                                .collect(Collectors.joining())
                        : Character.toString(c))
                .collect(Collectors.joining("", "\"", "\""));
    }
}
