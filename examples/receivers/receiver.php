<?php
// Receives webhooks: checks the signature, answers at once, handles each event once.
//
//     WEBHOOK_SECRET=whsec_... php -S 127.0.0.1:9000 receiver.php
//
// PHP 8.0 or newer, no extension. During a rotation WEBHOOK_SECRET may hold several secrets with blanks between them.

declare(strict_types=1);

const TOLERANCE_SECONDS = 5 * 60;

/**
 * Why a request is refused; null where one of the signatures in the header was made with one of our keys.
 * $body must be the bytes as they came: JSON that was parsed and written again has another signature.
 */
function refusal(string $id, string $timestamp, string $signatures, string $body, array $keys, int $now): ?string
{
    if ($id === '' || !preg_match('/^[0-9]{1,12}$/D', $timestamp)) {
        return 'webhook-id or webhook-timestamp is missing';
    }
    if (abs($now - (int) $timestamp) > TOLERANCE_SECONDS) {
        return 'the timestamp is more than five minutes off';
    }
    $signed = "$id.$timestamp.$body";
    // "v1,<base64> v1,<base64>": two or more during a rotation; versions that we do not know are passed over.
    foreach (explode(' ', $signatures) as $signature) {
        [$version, $text] = explode(',', $signature, 2) + [1 => ''];
        foreach ($keys as $key) {
            $wanted = base64_encode(hash_hmac('sha256', $signed, $key, true));
            if ($version === 'v1' && hash_equals($wanted, $text)) {
                return null;
            }
        }
    }
    return 'no signature matches';
}

/**
 * False where the event was there before.
 *
 * A file per event, so that the example needs no database: mode "x" creates it for exactly one of several processes.
 * A real inbox is a table with the webhook-id as its primary key: insert before you answer.
 */
function put(string $id, string $body): bool
{
    $folder = getenv('INBOX') ?: sys_get_temp_dir() . '/webhook-inbox';
    if (!is_dir($folder)) {
        @mkdir($folder, 0700, true);
    }
    $file = @fopen($folder . '/' . hash('sha256', $id) . '.json', 'x');
    if ($file === false) {
        return false;
    }
    fwrite($file, $body);
    fclose($file);
    return true;
}

$keys = [];
foreach (preg_split('/\s+/', (string) getenv('WEBHOOK_SECRET'), -1, PREG_SPLIT_NO_EMPTY) as $secret) {
    $keys[] = (string) base64_decode(preg_replace('/^whsec_/', '', $secret), true);
}
// An empty key would accept what anybody can sign.
if ($keys === [] || in_array('', $keys, true)) {
    error_log('set WEBHOOK_SECRET to the whsec_... that was shown when the webhook was made');
    http_response_code(500);
    exit;
}
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    http_response_code(405);
    exit;
}

$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$body = (string) file_get_contents('php://input');
$why = refusal(
    $id,
    $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '',
    $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '',
    $body,
    $keys,
    time(),
);
if ($why !== null) {
    error_log("refused: $why");
    http_response_code(401);
    exit;
}

$isNew = put($id, $body);
// 204 for an event that was seen before too: anything else would have it sent again.
http_response_code(204);
if (function_exists('fastcgi_finish_request')) {
    fastcgi_finish_request(); // under PHP-FPM the answer is out now, and the work goes on
}
if ($isNew) {
    $event = json_decode($body, true, 512, JSON_BIGINT_AS_STRING);
    error_log("handled $id {$event['name']} call=" . ($event['call_id'] ?? 'none'));
} else {
    error_log("seen before $id attempt=" . ($_SERVER['HTTP_X_WEBHOOK_ATTEMPT'] ?? '?'));
}
