// Sends usage from standard input to the queue: `QUEUE_URL=… java Producer < usage.ndjson`.
// Needs software.amazon.awssdk:sqs and com.fasterxml.jackson.core:jackson-databind.

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.services.sqs.SqsClient;

public final class Producer {
    record Used(String order, int line, String customer, String at, BigDecimal calls) {}

    record Measurement(String uid, String meter, String account, String ts, Map<String, BigDecimal> measure) {
        /** The same usage gives the same uid, however often it is sent: after a timeout, a crash, a second run. */
        static Measurement of(Used used) {
            String uid = used.order() + "/line-" + used.line();
            return new Measurement(uid, "api_calls", used.customer(), used.at(), Map.of("calls", used.calls()));
        }
    }

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES);
        List<Measurement> found = new ArrayList<>();
        try (var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line; (line = lines.readLine()) != null; ) {
                found.add(Measurement.of(json.readValue(line, Used.class)));
            }
        }
        try (SqsClient sqs = SqsClient.create()) { // tries a failed call again by itself, with the same body
            for (int start = 0; start < found.size(); start += 100) {
                var some = found.subList(start, Math.min(start + 100, found.size()));
                String body = json.writeValueAsString(Map.of("measurements", some));
                sqs.sendMessage(message -> message.queueUrl(System.getenv("QUEUE_URL")).messageBody(body));
            }
        }
    }
}
