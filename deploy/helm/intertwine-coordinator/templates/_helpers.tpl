{{- /* A StatefulSet's name may have 52 characters: Kubernetes appends a hash to it in a label. */}}
{{- define "coordinator.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}-coordinator
{{- end }}

{{- define "postgresql.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}-postgresql
{{- end }}

{{- define "coordinator.internal" -}}
{{- include "coordinator.name" . }}.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "coordinator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "postgresql.selector" -}}
app.kubernetes.io/name: postgresql
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "chart.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "coordinator.labels" -}}
{{ include "coordinator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "chart.labels" . }}
{{- end }}

{{- define "postgresql.labels" -}}
{{ include "postgresql.selector" . }}
{{ include "chart.labels" . }}
{{- end }}

{{- define "chart.image" -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag }}{{ end }}
{{- end }}

{{- /* What both pods share: nobody is root, and nothing of Kubernetes is within reach. The argument is [$, user id]. */}}
{{- define "chart.pod" -}}
{{- $user := last . }}
{{- with first . -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 60
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $user }}
  runAsGroup: {{ $user }}
  fsGroup: {{ $user }}
  # Only a volume whose root has another owner is changed: private files stay private.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What every container may: nothing, and write to its volumes alone. */}}
{{- define "chart.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The password goes to PostgreSQL's own variable, so that any character may be in it. */}}
{{- define "coordinator.database" -}}
{{- if .Values.postgresql.enabled }}
{{- if .Values.database.existingSecret }}
{{- fail "database.existingSecret: to use a database that you have, set postgresql.enabled=false as well." }}
{{- end }}
env:
  - name: INTERTWINE_DATABASE_URL
    value: postgresql+psycopg://intertwine@{{ include "postgresql.name" . }}/intertwine
  - name: PGPASSWORD
    {{- include "postgresql.password" . | nindent 4 }}
{{- else if .Values.database.existingSecret }}
env:
  - name: INTERTWINE_DATABASE_URL
    valueFrom:
      secretKeyRef:
        name: {{ .Values.database.existingSecret | quote }}
        key: {{ .Values.database.key | quote }}
{{- end }}
{{- end }}

{{- define "postgresql.password" -}}
valueFrom:
  secretKeyRef:
    name: {{ required "postgresql.existingSecret: name a Secret with a password under the key `password`." .Values.postgresql.existingSecret | quote }}
    key: password
{{- end }}

{{- /* What the pod's two containers share. */}}
{{- define "coordinator.container" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
image: {{ include "chart.image" (merge (dict "tag" $tag) .Values.image) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "chart.confined" . | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- include "coordinator.database" . }}
volumeMounts:
  - {name: home, mountPath: /var/lib/intertwine}
  - {name: tmp, mountPath: /tmp}
{{- end }}
