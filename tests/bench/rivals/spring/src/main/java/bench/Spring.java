package bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.channels.FileChannel;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.LongAdder;

import com.sun.management.OperatingSystemMXBean;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.support.serializer.JacksonJsonDeserializer;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Spring Kafka's record listener as a subject of the bench. It speaks as the other subjects do: see protocol.rs. */
public final class Spring {
    static final int MEASURED = 3;
    static final int TRACED = 4;
    static final LongAdder HANDLED = new LongAdder();
    static AtomicLongArray latencies = new AtomicLongArray(0);
    static final AtomicInteger CLAIMED = new AtomicInteger();
    static final AtomicInteger TAKEN = new AtomicInteger();
    static FileChannel trace;
    static long workMicros;
    static JsonNode assignment;

    /** The payload. */
    public record Order(String orderId, String userId, String productId, int quantity, long price) {
    }

    @Configuration
    @EnableKafka
    static class Listeners {
        @Bean
        ConcurrentKafkaListenerContainerFactory<String, Order> kafkaListenerContainerFactory() {
            Map<String, Object> settings = new HashMap<>();
            settings.put("bootstrap.servers", assignment.get("bootstrap_servers").asString());
            settings.put("auto.offset.reset", "earliest");
            settings.put("fetch.max.wait.ms", "100");
            for (JsonNode setting : assignment.get("client")) {
                String name = setting.get(0).asString();
                String value = setting.get(1).asString();
                switch (name) {
                    case "session.timeout.ms", "heartbeat.interval.ms" -> settings.put(name, value);
                    case "partition.assignment.strategy" -> settings.put(name, value.equals("range")
                        ? "org.apache.kafka.clients.consumer.RangeAssignor"
                        : "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
                    default -> { // librdkafka's own
                    }
                }
            }
            JacksonJsonDeserializer<Order> json = new JacksonJsonDeserializer<>(Order.class);
            json.setUseTypeHeaders(false);
            ConcurrentKafkaListenerContainerFactory<String, Order> factory =
                new ConcurrentKafkaListenerContainerFactory<>();
            factory.setConsumerFactory(new DefaultKafkaConsumerFactory<>(settings, new StringDeserializer(), json));
            return factory;
        }

        @Bean
        Handler handler() {
            return new Handler();
        }
    }

    static class Handler {
        @KafkaListener(topics = "${topic}", groupId = "${group}")
        void handle(Order order) throws InterruptedException {
            if (workMicros > 0) {
                Thread.sleep(workMicros / 1_000, (int) (workMicros % 1_000) * 1_000);
            }
            if (order.quantity() == MEASURED) {
                int slot = CLAIMED.getAndIncrement();
                if (slot < latencies.length()) {
                    latencies.set(slot, Math.max(0, System.nanoTime() - order.price()));
                }
                TAKEN.incrementAndGet();
            } else if (order.quantity() == TRACED) {
                write(order.userId() + " " + order.price() + " " + System.nanoTime() + "\n");
            }
            HANDLED.increment();
        }
    }

    static void write(String line) {
        ByteBuffer bytes = ByteBuffer.wrap(line.getBytes(StandardCharsets.UTF_8));
        try {
            synchronized (HANDLED) {
                while (bytes.hasRemaining()) {
                    trace.write(bytes);
                }
            }
        } catch (IOException err) {
            throw new UncheckedIOException(err);
        }
    }

    record Mark(long at, long cpu, long count) {
        static Mark now() {
            OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
            return new Mark(System.nanoTime(), system.getProcessCpuTime(), HANDLED.sum());
        }
    }

    interface Condition {
        boolean holds();
    }

    static Mark until(Condition condition) throws InterruptedException {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("not measured after 60 s");
            }
            Thread.sleep(1);
        }
        return Mark.now();
    }

    public static void main(String[] arguments) throws Exception {
        assignment = JsonMapper.builder().build().readTree(arguments[1]);
        workMicros = assignment.get("work_micros").asLong();
        JsonNode measure = assignment.get("measure");
        if (measure.has("latencies")) {
            latencies = new AtomicLongArray(measure.get("latencies").get("records").asInt());
        }
        System.setProperty("topic", assignment.get("topic").asString());
        System.setProperty("group", assignment.get("group").asString());
        if (measure.has("trace")) {
            Path file = Path.of(measure.get("trace").get("file").asString());
            trace = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        }
        AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext(Listeners.class);
        context.registerShutdownHook();
        if (measure.has("trace")) {
            Thread.currentThread().join();
        }
        Mark first = until(() -> HANDLED.sum() > 0);
        System.out.println("consuming");
        Mark from = first;
        Mark to;
        if (measure.has("records")) {
            long warmUp = measure.get("records").get("warm_up").asLong();
            long records = measure.get("records").get("records").asLong();
            if (warmUp > 0) {
                from = until(() -> HANDLED.sum() >= warmUp);
            }
            to = until(() -> HANDLED.sum() >= records);
        } else if (measure.has("latencies")) {
            from = until(() -> TAKEN.get() > 0);
            to = until(() -> TAKEN.get() >= latencies.length());
        } else {
            long end = first.at() + measure.get("seconds").asLong() * 1_000_000_000L;
            to = until(() -> System.nanoTime() >= end);
        }
        System.out.println(figures(from, to));
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static String figures(Mark from, Mark to) throws IOException {
        long records = to.count() - from.count();
        double micros = (to.cpu() - from.cpu()) / 1e3 / records;
        long kilobytes = Files.readAllLines(Path.of("/proc/self/status")).stream()
            .filter(line -> line.startsWith("VmHWM:"))
            .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
            .findFirst().orElse(0);
        StringBuilder json = new StringBuilder();
        json.append("{\"records\":").append(records)
            .append(",\"seconds\":").append((to.at() - from.at()) / 1e9)
            .append(",\"cpu_micros_per_record\":").append(micros)
            .append(",\"peak_resident_mib\":").append(kilobytes / 1024.0);
        if (latencies.length() > 0) {
            long[] sorted = new long[latencies.length()];
            for (int at = 0; at < sorted.length; at++) {
                sorted[at] = latencies.get(at);
            }
            Arrays.sort(sorted);
            json.append(",\"latency\":{\"p50\":").append(quantile(sorted, 0.5))
                .append(",\"p99\":").append(quantile(sorted, 0.99))
                .append(",\"p999\":").append(quantile(sorted, 0.999))
                .append(",\"max\":").append(quantile(sorted, 1)).append('}');
        }
        return json.append('}').toString();
    }

    static double quantile(long[] sorted, double share) {
        return sorted[Math.max(0, (int) Math.ceil(share * sorted.length) - 1)] / 1e6;
    }

    private Spring() {
    }
}
